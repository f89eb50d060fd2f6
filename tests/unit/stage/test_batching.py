"""Which sessions share a step: the batch window, and what happens when the device has no memory for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import OverloadedError
from services.common.memory import MemoryUse
from services.common.stage.engine import Output
from services.common.stage.loop import StageLoop
from services.common.stage.scheduler import BatchWindow
from services.common.stage.servicer import StageServicer
from services.common.stage.session import Chunk, Session
from tests.unit.stage.counting_engine import CountingEngine
from tests.unit.stage.test_servicer import Stream, worker

LONG_SECONDS = 30.0
"""A window that ends only because it is full."""


def window(seconds: float = 0.01, *, max_batch_size: int = 4) -> BatchWindow:
    return BatchWindow(seconds, max_batch_size=max_batch_size)


def test_a_step_waits_for_open_sessions_until_the_window_ends() -> None:
    held = window()

    assert held.holds(num_ready=1, num_open=2, now=5.0)
    assert held.until == 5.01
    assert held.holds(num_ready=1, num_open=2, now=5.009)
    assert not held.holds(num_ready=1, num_open=2, now=5.01)
    assert held.until is None


@pytest.mark.parametrize(("num_ready", "num_open"), [(2, 2), (4, 9), (0, 3)])
def test_a_step_with_all_or_with_nobody_waits_for_none(num_ready: int, num_open: int) -> None:
    held = window()
    held.holds(num_ready=1, num_open=9, now=0.0)

    assert not held.holds(num_ready=num_ready, num_open=num_open, now=0.001)
    assert held.until is None


@given(
    seconds=st.floats(0, 0.02),
    turns=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(0, 0.01)), max_size=30),
)
def test_no_step_is_held_for_longer_than_the_window(seconds: float, turns: list[tuple[int, int, float]]) -> None:
    held, now, held_since = window(seconds), 0.0, None
    for num_ready, num_others, passed in turns:
        now += passed
        if held.holds(num_ready=num_ready, num_open=num_ready + num_others, now=now):
            held_since = now if held_since is None else held_since
            assert num_ready
            assert num_others
            assert now - held_since < seconds
        else:
            held_since = None


def session(engine: CountingEngine, name: str, *, credit: int = 9) -> Session:
    made = Session(name, 0, engine.spec.default_policy, {"factor": 2.0}, {}, {})
    made.credit = credit
    return made


def numbers(*values: int) -> Chunk:
    return Chunk(0, 0, {"ids": np.array(values, np.int32)}, is_segment_end=True)


async def test_sessions_that_are_ready_within_the_window_share_a_step() -> None:
    engine = CountingEngine(slots=2)
    loop = StageLoop(engine, max_batch_size=8, batch_window_seconds=LONG_SECONDS)
    running = asyncio.create_task(loop.run_forever())
    first, second = session(engine, "first"), session(engine, "second")
    loop.open(first)
    loop.open(second)
    loop.push(first, numbers(1))
    while loop._window.until is None:
        await asyncio.sleep(0)
    assert engine.batches == []
    loop.push(second, numbers(2))
    async with asyncio.timeout(5):
        await first.outbox.get()
        await second.outbox.get()
    running.cancel()

    assert [sorted(batch) for batch in engine.batches] == [["first", "second"]]


async def test_a_session_alone_goes_when_the_window_ends() -> None:
    engine = CountingEngine(slots=2)
    loop = StageLoop(engine, max_batch_size=8, batch_window_seconds=0.02)
    running = asyncio.create_task(loop.run_forever())
    first, silent = session(engine, "first"), session(engine, "silent")
    loop.open(first)
    loop.open(silent)
    started = time.monotonic()
    loop.push(first, numbers(1))
    async with asyncio.timeout(5):
        await first.outbox.get()
    running.cancel()

    assert engine.batches == [["first"]]
    assert time.monotonic() - started >= 0.02


async def test_a_session_that_is_closed_is_waited_for_no_more() -> None:
    engine = CountingEngine(slots=2)
    loop = StageLoop(engine, max_batch_size=8, batch_window_seconds=LONG_SECONDS)
    running = asyncio.create_task(loop.run_forever())
    first, gone = session(engine, "first"), session(engine, "gone")
    loop.open(first)
    loop.open(gone)
    loop.push(first, numbers(1))
    while loop._window.until is None:
        await asyncio.sleep(0)
    loop.close(gone)
    async with asyncio.timeout(5):
        await first.outbox.get()
    running.cancel()

    assert engine.batches == [["first"]]


class SmallEngine(CountingEngine):
    """Has memory for one session at a time."""

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        if len(sessions) > 1:
            raise OverloadedError("no memory for so many", stage="counting")
        return super().step(sessions)


async def test_a_batch_that_does_not_fit_is_refused_and_the_next_one_served() -> None:
    engine = SmallEngine(slots=3)
    loop = StageLoop(engine, max_batch_size=8, batch_window_seconds=LONG_SECONDS)
    running = asyncio.create_task(loop.run_forever())
    pair = [session(engine, "first"), session(engine, "second")]
    for each in pair:
        loop.open(each)
        loop.push(each, numbers(1))
    async with asyncio.timeout(5):
        refusals = [await each.outbox.get() for each in pair]
    for each in pair:
        assert each.has_failed
        loop.close(each)
    third = session(engine, "third")
    loop.open(third)
    loop.push(third, numbers(4))
    async with asyncio.timeout(5):
        chunk = await third.outbox.get()
    running.cancel()

    assert all(isinstance(refusal, OverloadedError) and refusal.is_retryable for refusal in refusals)
    assert refusals[0] is not refusals[1]
    assert isinstance(chunk, Chunk)
    assert chunk.tensors["codes"].tolist() == [8]
    assert loop.free_slots == 2


async def test_a_refused_batch_is_resource_exhausted_to_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: CountingEngine, sessions: Sequence[Session]) -> list[Output]:
        raise OverloadedError("no memory", stage="counting")

    async with worker() as it:
        monkeypatch.setattr(CountingEngine, "step", refuse)
        stream = await Stream(it).open()
        await stream.send([1], end=True)
        code, _ = await stream.failure()
        monkeypatch.undo()
        again = await Stream(it).open()
        await again.send([1], end=True)
        await again.end()

        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await again.rest())[0] == [2]


async def test_heartbeats_say_how_much_memory_the_device_has() -> None:
    loop = StageLoop(CountingEngine(), max_batch_size=1)
    plain, told = StageServicer(loop, worker="w"), StageServicer(loop, worker="w", gauge=lambda: MemoryUse(3, 7))

    async def beat(servicer: StageServicer) -> stage_pb2.HeartbeatResponse:
        return await anext(aiter(servicer.Heartbeat(stage_pb2.HeartbeatRequest(), None)))  # type: ignore[arg-type]

    first, second = await beat(plain), await beat(told)
    assert 2**20 < first.memory_used_bytes < first.memory_total_bytes
    assert (second.memory_used_bytes, second.memory_total_bytes) == (3, 7)
