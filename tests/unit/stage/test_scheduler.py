"""Which session is served next: priority, then first chunks, then the least playback lead, then the deadline."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.stage.policy import Policy
from services.common.stage.scheduler import pick
from services.common.stage.session import ResumePoint, Session
from services.common.stage.spec import Edge, EdgeKind

NOW = 1000.0
TIMES = st.floats(0, 2000, allow_nan=False)


def session(
    *,
    priority: int = 0,
    opened: float = 0.0,
    plays_until: float | None = None,
    deadline: float | None = None,
    last_served: float = 0.0,
) -> Session:
    made = Session("u", 0, Policy(), {}, {}, {}, priority=priority, deadline=deadline, opened=opened)
    made.plays_until, made.last_served = plays_until, last_served
    return made


sessions = st.builds(
    session,
    priority=st.integers(-2, 2),
    opened=TIMES,
    plays_until=st.none() | TIMES,
    deadline=st.none() | TIMES,
    last_served=TIMES,
)


def goes_before(first: Session, second: Session) -> bool:
    """The rule as it is told, criterion by criterion."""
    if first.priority != second.priority:
        return first.priority > second.priority
    if (first.plays_until is None) != (second.plays_until is None):
        return first.plays_until is None
    if first.plays_until is None or second.plays_until is None:
        if first.opened != second.opened:
            return first.opened < second.opened
    elif first.plays_until != second.plays_until:
        return first.plays_until < second.plays_until
    deadlines = [math.inf if each.deadline is None else each.deadline for each in (first, second)]
    return deadlines[0] < deadlines[1]


@given(st.lists(sessions, max_size=8), st.integers(1, 8))
def test_nobody_is_left_out_for_one_who_stands_behind(ready: list[Session], size: int) -> None:
    chosen = pick(ready, max_batch_size=size)
    left = [each for each in ready if each not in chosen]

    assert len(chosen) == min(size, len(ready))
    assert not any(goes_before(waiting, served) for waiting, served in itertools.product(left, chosen))
    assert not any(goes_before(second, first) for first, second in itertools.combinations(chosen, 2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (session(priority=1, plays_until=NOW + 60), session(priority=0)),
        (session(opened=NOW), session(opened=0.0, plays_until=NOW - 5)),
        (session(opened=1.0), session(opened=2.0)),
        (session(plays_until=NOW + 1), session(plays_until=NOW + 2)),
        (session(plays_until=NOW + 1, deadline=NOW + 9), session(plays_until=NOW + 2, deadline=NOW + 1)),
        (session(plays_until=NOW, deadline=NOW + 1), session(plays_until=NOW, deadline=NOW + 2)),
        (session(plays_until=NOW, deadline=NOW + 1), session(plays_until=NOW)),
        (session(plays_until=NOW, last_served=1.0), session(plays_until=NOW, last_served=2.0)),
    ],
    ids=[
        "priority before first chunks",
        "first chunks before a stream that starves",
        "first chunks in the order of opening",
        "less lead before more",
        "lead before deadline",
        "the earlier deadline at the same lead",
        "a deadline before none",
        "the one served longest ago at last",
    ],
)
def test_each_criterion_holds_before_those_behind_it(first: Session, second: Session) -> None:
    assert pick([second, first], max_batch_size=1) == [first]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), min_size=1, max_size=20))
def test_a_listener_who_had_to_wait_goes_on_where_the_sound_stopped(outputs: list[tuple[float, float]]) -> None:
    """The lead after an output is never less than what has just come: a pause in the text is no debt."""
    listened, now, buffered = session(), NOW, 0.0
    for passed, seconds in outputs:
        now += passed
        buffered = max(0.0, buffered - passed) + seconds
        listened.note_output(seconds, now)
        assert listened.plays_until is not None
        assert listened.plays_until - now == pytest.approx(buffered, abs=1e-6)


@given(
    st.lists(st.floats(0.02, 1.0), min_size=2, max_size=5),
    st.floats(0.001, 0.2),
    st.integers(50, 150),
)
def test_no_stream_starves_beside_others_that_are_always_ready(
    chunk_seconds: list[float], step_seconds: float, num_steps: int
) -> None:
    """Chunks of whatever length: whoever has the least sound left is served, so leads stay within one chunk."""
    streams = [session(opened=float(index)) for index in range(len(chunk_seconds))]
    now = NOW
    for step in range(num_steps):
        served = pick(streams, max_batch_size=1)[0]
        now += step_seconds
        served.note_output(chunk_seconds[streams.index(served)], now)
        if step >= len(streams) - 1:
            ends = [each.plays_until for each in streams if each.plays_until is not None]
            assert len(ends) == len(streams), "each had its first chunk before any had its second"
            playing = [end for end in ends if end >= now]
            spread = max(ends) - min(playing, default=now)
            assert spread <= max(chunk_seconds) + len(streams) * step_seconds + 1e-6


@pytest.mark.parametrize(
    ("edge", "seconds"),
    [
        (Edge(EdgeKind.TOKENS, (), rate_numerator=50), 2.0),
        (Edge(EdgeKind.MEL, (), rate_numerator=22050, rate_denominator=256), 100 * 256 / 22050),
        (Edge(EdgeKind.TOKENS, ()), 0.0),
    ],
    ids=["codes", "frames", "no rate"],
)
def test_an_edge_knows_how_long_its_items_last(edge: Edge, seconds: float) -> None:
    assert edge.seconds(100) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "slow",
    [
        {"policy": Policy(is_whole=True)},
        {"params": {"compat": 1.0}},
        {"resume": ResumePoint(0, 100, {})},
    ],
)
def test_a_session_that_gives_nothing_for_long_takes_turns_with_listeners(slow: dict[str, Any]) -> None:
    """It would be first at every step of its segment otherwise, and silence the others."""
    made = session(opened=NOW, last_served=NOW)
    for name, value in slow.items():
        setattr(made, name, value)
    dry, ahead, fresh = session(plays_until=NOW - 1), session(plays_until=NOW + 5), session(opened=NOW + 1)
    assert pick([ahead, made, dry, fresh], max_batch_size=4) == [fresh, dry, made, ahead]
    made.last_served = NOW - 2
    assert pick([ahead, made, dry], max_batch_size=1) == [made]
