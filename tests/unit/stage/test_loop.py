"""What one turn of the engine's thread does: steps without a hop between them, and what ends them.

Turns are taken by hand here, so that each step is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from services.common.errors import DeadlineError
from services.common.stage.engine import Output
from services.common.stage.loop import StageLoop
from services.common.stage.session import Chunk, FinishReason, Session
from tests.unit.stage.counting_engine import CountingEngine

Hook = Callable[[int], None]


class SlowEngine(CountingEngine):
    """Gives something at every third step of a session only; `hook` is called before each step with its number."""

    def __init__(self, slots: int = 4) -> None:
        super().__init__(slots)
        self.hook: Hook = lambda number: None
        self._steps: dict[Session, int] = {}

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        self.hook(len(self.batches))
        outputs: list[Output] = []
        for session in sessions:
            self._steps[session] = self._steps.get(session, 0) + 1
            if self._steps[session] % 3 == 0:
                outputs.append((session, self._one(session)))
        self.batches.append([session.utterance_id for session in sessions])
        return outputs


def opened(loop: StageLoop, name: str, *values: int, priority: int = 0, credit: int = 9) -> Session:
    """A session that has all its numbers, once the loop has done its commands."""
    session = Session(name, 0, loop.engine.spec.default_policy, {"factor": 2.0}, {}, {}, priority=priority)
    loop.open(session)
    loop.add_credit(session, credit)
    loop.push(session, Chunk(0, 0, {"ids": np.array(values, np.int32)}, is_segment_end=True))
    return session


def codes(outputs: list[Output]) -> list[tuple[str, list[int]]]:
    return [
        (session.utterance_id, output.tensors["codes"].tolist())
        for session, output in outputs
        if isinstance(output, Chunk)
    ]


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
def loop(engine: SlowEngine) -> StageLoop:
    return StageLoop(engine, max_batch_size=1)


def test_a_turn_lasts_until_there_is_something_to_hand_over(engine: SlowEngine, loop: StageLoop) -> None:
    opened(loop, "a", 1, 2)

    outputs, is_idle = loop._turn()

    assert (codes(outputs), is_idle) == ([("a", [2])], False)
    assert engine.batches == [["a"]] * 3
    assert codes(loop._turn()[0]) == [("a", [4])]


def test_a_turn_with_nothing_to_do_is_idle(loop: StageLoop) -> None:
    opened(loop, "without credit", 1, credit=0)

    assert loop._turn() == ([], True)


def test_a_caller_who_may_send_more_is_told_before_further_steps(engine: SlowEngine, loop: StageLoop) -> None:
    session = opened(loop, "a", 1, 2)

    def use(number: int) -> None:
        session.used += 1

    engine.hook = use

    assert loop._turn() == ([], False)
    assert len(engine.batches) == 1


def test_who_comes_between_two_steps_is_served_by_the_next(engine: SlowEngine, loop: StageLoop) -> None:
    """The first chunk of the one goes before the rest of the other, whose listener has enough to hear."""
    first = opened(loop, "first", 1, 2)
    loop._turn()
    first.listener.plays_until = time.monotonic() + 60

    def arrive(number: int) -> None:
        if number == 3:
            opened(loop, "second", 5)

    engine.hook = arrive
    outputs, _ = loop._turn()

    assert codes(outputs) == [("second", [10])]
    assert engine.batches[3:] == [["first"], ["second"], ["second"], ["second"]]


def test_a_higher_priority_takes_over_between_two_steps(engine: SlowEngine, loop: StageLoop) -> None:
    opened(loop, "long", 1, 2)

    def arrive(number: int) -> None:
        if number == 1:
            opened(loop, "urgent", 5, priority=1)

    engine.hook = arrive
    loop._turn()

    assert engine.batches == [["long"], ["long"], ["urgent"], ["urgent"], ["urgent"]]


def test_a_deadline_that_passes_between_two_steps_ends_the_session_before_its_next(
    engine: SlowEngine, loop: StageLoop
) -> None:
    session = opened(loop, "late", 1)

    def pass_deadline(number: int) -> None:
        session.deadline = 0.0

    engine.hook = pass_deadline
    outputs, _ = loop._turn()

    assert engine.batches == [["late"]]
    assert [type(output) for _, output in outputs] == [DeadlineError]
    assert loop._turn() == ([], True), "it is told once"


def test_a_close_between_two_steps_frees_the_session_before_the_next(engine: SlowEngine, loop: StageLoop) -> None:
    session = opened(loop, "gone", 1)
    other = opened(loop, "other", 3)
    engine.hook = lambda number: loop.close(session)

    outputs, _ = loop._turn()

    assert codes(outputs) == [("other", [6])]
    assert engine.batches == [["gone"], *[["other"]] * 3]
    assert list(engine.open_sessions) == [other]


async def test_a_cancel_between_two_steps_ends_the_segment_before_the_next(engine: SlowEngine, loop: StageLoop) -> None:
    session = opened(loop, "a", 1)
    engine.hook = lambda number: loop.cancel_segment(session, 0)
    running = asyncio.create_task(loop.run_forever())
    async with asyncio.timeout(5):
        chunk = await session.outbox.get()
    running.cancel()

    assert isinstance(chunk, Chunk)
    assert chunk.finish_reason is FinishReason.CANCELLED
    assert engine.batches == [["a"]]


async def test_a_loop_that_is_cancelled_does_no_further_step(engine: SlowEngine, loop: StageLoop) -> None:
    """An engine that never gives anything must not keep the process from ending."""
    opened(loop, "a", *range(1000))
    asked, running = asyncio.Event(), asyncio.create_task(loop.run_forever())
    event_loop = asyncio.get_running_loop()
    engine.step = lambda sessions: event_loop.call_soon_threadsafe(asked.set) and []  # type: ignore[assignment,method-assign,return-value]
    async with asyncio.timeout(5):
        await asked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await event_loop.run_in_executor(loop._thread, lambda: None)


@pytest.mark.parametrize(("wanted", "limit", "sizes"), [(8, 2, [2, 1]), (2, 8, [2, 1]), (8, 1, [1, 1, 1])])
def test_a_step_is_shared_by_no_more_than_engine_and_settings_allow(
    engine: SlowEngine, wanted: int, limit: int, sizes: list[int]
) -> None:
    engine.batch_limit = limit
    loop = StageLoop(engine, max_batch_size=wanted)
    for name in ("a", "b", "c"):
        opened(loop, name, 1)
    for _ in sizes:
        loop._turn()
        loop._tell_used()

    assert [len(batch) for batch in engine.batches[::3]] == sizes


def test_work_that_goes_on_is_not_held_for_others() -> None:
    """One wait for company at the start, not one at each of thousands of small steps."""
    engine = SlowEngine()
    loop = StageLoop(engine, max_batch_size=4, batch_window_seconds=0.02)
    opened(loop, "a", 1, 2, 3)
    opened(loop, "silent", 1, credit=0)
    assert loop._turn() == ([], True)
    assert loop._window.until is not None

    loop._window.until = 0.0
    made = [codes(loop._turn()[0]) for _ in range(3)]

    assert made == [[("a", [2])], [("a", [4])], [("a", [6])]]
