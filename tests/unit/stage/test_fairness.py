"""More sessions than places in a step: those that run are served in turns; the loop's bookkeeping is made here."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.stage.policy import Policy
from services.common.stage.scheduler import pick
from services.common.stage.session import Session

NOW = 1000.0


def running(count: int, chunk_seconds: float, step_seconds: float = 0.0) -> list[Session]:
    """Streams of equal standing, whose first chunks have just come out, each after so much computing."""
    sessions = [Session("u", 0, Policy(), {}, {}, {}, opened=NOW - 1 + 0.01 * index) for index in range(count)]
    for session in sessions:
        session.listener.note_step(step_seconds)
        session.listener.note_output(chunk_seconds, NOW)
        session.last_served = NOW
    return sessions


@settings(deadline=None, max_examples=60)
@given(
    num_sessions=st.integers(2, 8),
    num_places=st.integers(1, 7),
    steps_per_chunk=st.integers(1, 10),
    chunk_seconds=st.floats(0.02, 1.0),
    step_seconds=st.floats(0.001, 0.2),
)
def test_running_streams_of_equal_standing_are_served_in_turns(
    num_sessions: int, num_places: int, steps_per_chunk: int, chunk_seconds: float, step_seconds: float
) -> None:
    """None is ever further ahead of another than one chunk, whether the stage keeps up with its listeners or not."""
    sessions, now = running(num_sessions, chunk_seconds, steps_per_chunk * step_seconds), NOW
    waited = dict.fromkeys(sessions, 0)
    for _ in range(120):
        batch = pick(sessions, max_batch_size=num_places, now=now)
        now += step_seconds
        for session in sessions:
            waited[session] = 0 if session in batch else waited[session] + 1
        for session in batch:
            session.stats.steps += 1
            session.listener.note_step(step_seconds)
            session.last_served = now
            if session.stats.steps % steps_per_chunk == 0:
                session.listener.note_output(chunk_seconds, now)
        served = [session.stats.steps for session in sessions]
        assert max(served) - min(served) <= steps_per_chunk
        assert max(waited.values()) <= steps_per_chunk * math.ceil(num_sessions / num_places)


@given(
    num_beginning=st.integers(0, 8), num_running=st.integers(0, 8), num_places=st.integers(2, 8), lead=st.floats(0, 5)
)
def test_those_that_begin_hold_one_place_of_a_step(
    num_beginning: int, num_running: int, num_places: int, lead: float
) -> None:
    streams = running(num_running, lead)
    new = [Session("u", 0, Policy(), {}, {}, {}, opened=NOW + index) for index in range(num_beginning)]
    for session in new:
        session.is_beginning = True
    batch = pick([*new, *streams], max_batch_size=num_places, now=NOW)

    assert [session for session in batch if session in new] in ([], new[:1])
    assert len([session for session in batch if session in streams]) >= min(num_running, num_places - 1)
