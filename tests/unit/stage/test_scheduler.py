"""Which session is served next: priority, who would run dry, first chunks, the least playback lead, the deadline."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.stage.listener import Listener
from services.common.stage.policy import Policy
from services.common.stage.scheduler import (
    AHEAD_SECONDS,
    FIRST_PATIENCE_SECONDS,
    OUTPUTS_AHEAD,
    is_ahead,
    pick,
    windows,
)
from services.common.stage.session import ResumePoint, Session
from services.common.stage.spec import Edge, EdgeKind

NOW = 1000.0
TIMES = st.floats(1, 2000, allow_nan=False)


def session(
    *,
    priority: int = 0,
    opened: float = 0.0,
    plays_until: float | None = None,
    deadline: float | None = None,
    last_served: float = 0.0,
    output_seconds: float = 0.0,
) -> Session:
    made = Session("u", 0, Policy(), {}, {}, {}, priority=priority, deadline=deadline, opened=opened)
    made.ready_since = opened
    made.listener.plays_until, made.listener.output_seconds = plays_until, output_seconds
    made.last_served = last_served
    return made


sessions = st.builds(
    session,
    priority=st.integers(-2, 2),
    opened=TIMES,
    plays_until=st.none() | TIMES,
    deadline=st.none() | TIMES,
    last_served=TIMES,
    output_seconds=st.sampled_from([0.0, 0.02, 0.2, 100.0]),
)


def begins_at(made: Session) -> float:
    """When it joins those who must be served now: nearly dry, or out of patience."""
    if made.listener.plays_until is None:
        return made.opened + FIRST_PATIENCE_SECONDS
    return made.listener.plays_until


def is_needed(made: Session, needed: float) -> bool:
    patience = made.listener.plays_until is None
    return begins_at(made) <= NOW if patience else begins_at(made) - needed <= NOW


def goes_before(first: Session, second: Session, needed: float) -> bool:
    """The rule as it is told, criterion by criterion; the first in which they differ decides."""
    both = (first, second)
    criteria: list[tuple[float, ...]] = [
        tuple(-each.priority for each in both),
        tuple(not is_needed(each, needed) for each in both),
    ]
    if all(is_needed(each, needed) for each in both):
        criteria.append(tuple(begins_at(each) for each in both))
    else:
        criteria.append(tuple(each.listener.plays_until is not None for each in both))
        criteria.append(tuple(each.listener.plays_until or each.opened for each in both))
    criteria.append(tuple(math.inf if each.deadline is None else each.deadline for each in both))
    return next((one < other for one, other in criteria if one != other), False)


@given(st.lists(sessions, max_size=8), st.integers(1, 8))
def test_nobody_is_left_out_for_one_who_stands_behind(ready: list[Session], size: int) -> None:
    chosen = pick(ready, max_batch_size=size, now=NOW)
    left = [each for each in ready if each not in chosen]
    needed = OUTPUTS_AHEAD * max((each.listener.output_seconds for each in ready), default=0)

    assert len(chosen) == min(size, len(ready))
    assert not any(goes_before(waiting, served, needed) for waiting, served in itertools.product(left, chosen))
    assert not any(goes_before(second, first, needed) for first, second in itertools.combinations(chosen, 2))


@given(sessions, sessions, st.lists(sessions, max_size=6))
def test_a_listener_with_less_lead_never_waits_for_one_with_more(
    one: Session, other: Session, rest: list[Session]
) -> None:
    if one.listener.plays_until is None or other.listener.plays_until is None or one.priority != other.priority:
        return
    order = pick([one, other, *rest], max_batch_size=8, now=NOW)
    if one.listener.plays_until < other.listener.plays_until:
        assert order.index(one) < order.index(other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (session(priority=1, plays_until=NOW + 60), session(priority=0)),
        (session(opened=0.0, plays_until=NOW + 0.3, output_seconds=0.1), session(opened=NOW - 0.2)),
        (session(opened=NOW - 5), session(opened=0.0, plays_until=NOW - 1)),
        (session(opened=NOW), session(opened=0.0, plays_until=NOW + 1, output_seconds=0.1)),
        (session(opened=NOW - 0.2), session(opened=NOW - 0.1)),
        (session(plays_until=NOW + 1), session(plays_until=NOW + 2)),
        (session(plays_until=NOW + 1, deadline=NOW + 9), session(plays_until=NOW + 2, deadline=NOW + 1)),
        (session(plays_until=NOW, deadline=NOW + 1), session(plays_until=NOW, deadline=NOW + 2)),
        (session(plays_until=NOW, deadline=NOW + 1), session(plays_until=NOW)),
        (session(plays_until=NOW, last_served=1.0), session(plays_until=NOW, last_served=2.0)),
    ],
    ids=[
        "priority before first chunks",
        "a listener who runs dry unless the next output is begun now before first chunks",
        "a first chunk that has waited for long before a stream that starves",
        "first chunks before a stream with lead",
        "first chunks in the order of opening",
        "less lead before more",
        "lead before deadline",
        "the earlier deadline at the same lead",
        "a deadline before none",
        "the one served longest ago at last",
    ],
)
def test_each_criterion_holds_before_those_behind_it(first: Session, second: Session) -> None:
    assert pick([second, first], max_batch_size=1, now=NOW) == [first]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), min_size=1, max_size=20))
def test_a_listener_who_had_to_wait_goes_on_where_the_sound_stopped(outputs: list[tuple[float, float]]) -> None:
    """The lead after an output is never less than what has just come: a pause in the text is no debt."""
    listened, now, buffered = session(), NOW, 0.0
    for passed, seconds in outputs:
        now += passed
        buffered = max(0.0, buffered - passed) + seconds
        listened.listener.note_output(seconds, now)
        assert listened.listener.plays_until is not None
        assert listened.listener.plays_until - now == pytest.approx(buffered, abs=1e-6)


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
        served = pick(streams, max_batch_size=1, now=now)[0]
        now += step_seconds
        served.listener.note_output(chunk_seconds[streams.index(served)], now)
        if step >= len(streams) - 1:
            ends = [each.listener.plays_until for each in streams if each.listener.plays_until is not None]
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


SLOW: list[dict[str, Any]] = [
    {"policy": Policy(is_whole=True)},
    {"params": {"compat": 1.0}},
    {"resume": ResumePoint(0, 100, {})},
]


def slow_session(slow: dict[str, Any], *, opened: float, last_served: float = 0.0) -> Session:
    made = session(opened=opened, last_served=last_served)
    for name, value in slow.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("slow", SLOW)
def test_a_session_that_gives_nothing_for_long_takes_turns_with_listeners(slow: dict[str, Any]) -> None:
    """It would be first at every step of its segment otherwise, and silence the others."""
    made = slow_session(slow, opened=NOW, last_served=NOW - 0.3)
    made.listener.note_step(0.1)
    dry, ahead, fresh = session(plays_until=NOW - 1), session(plays_until=NOW + 5), session(opened=NOW)
    assert pick([ahead, made, dry, fresh], max_batch_size=4, now=NOW) == [dry, fresh, made, ahead]
    assert pick([ahead, made, fresh], max_batch_size=2, now=NOW + 0.15) == [made, fresh], "four of its steps have gone"


@pytest.mark.parametrize("slow", SLOW)
def test_a_session_that_gives_nothing_for_long_has_its_share_under_any_load(slow: dict[str, Any]) -> None:
    """Listeners who are always about to run dry, and new ones that never end, leave it about a seventh of the steps."""
    made, now, step_seconds, served = slow_session(slow, opened=NOW, last_served=NOW), NOW, 0.02, 0
    dry = [session(opened=NOW - index) for index in range(3)]
    for _ in range(300):
        fresh = session(opened=now)
        chosen = pick([made, fresh, *dry], max_batch_size=1, now=now)[0]
        now += step_seconds
        chosen.listener.note_step(step_seconds)
        chosen.last_served = now
        served += chosen is made
        if chosen in dry:
            chosen.listener.note_output(step_seconds, now)
    assert served >= 300 // 8


def test_what_was_resumed_is_like_any_other_once_it_is_heard() -> None:
    made = slow_session({"resume": ResumePoint(0, 100, {})}, opened=NOW)
    assert made.is_slow_to_begin
    made.listener.note_output(0.2, NOW)
    assert not made.is_slow_to_begin


def test_patience_begins_with_the_first_work_not_with_the_opening() -> None:
    """A stream is opened in all stages before there is any text: it has not waited for this stage yet."""
    fresh, dry = session(opened=NOW - 10), session(plays_until=NOW - 0.1)
    fresh.ready_since = NOW
    assert pick([fresh, dry], max_batch_size=1, now=NOW) == [dry]


def test_a_listener_has_something_new_when_a_window_of_codes_is_complete() -> None:
    """Codes that wait for their window are no sound yet: who got them must not seem better off than before."""
    policy = Policy(first_window_codes=20, window_growth=1.5, max_window_codes=100, look_ahead_codes=5)
    edge = Edge(EdgeKind.TOKENS, (), rate_numerator=50)
    made = Listener(windows(edge, policy))
    leads = []
    for start in range(0, 60, 10):
        made.note_output(0.2, NOW, start=start, stop=start + 10)
        leads.append(None if made.plays_until is None else round(made.plays_until - NOW, 3))
    assert leads == [None, None, 0.6, 0.6, 0.6, 1.2], "windows end at 20 and 50 codes, and wait for 5 more"

    made.note_output(0.1, NOW, start=60, stop=65, is_end=True)
    assert made.plays_until == pytest.approx(NOW + 1.3), "the rest of a segment is rendered as it is"
    made.note_output(0.2, NOW, start=0, stop=10)
    assert made.plays_until == pytest.approx(NOW + 1.3), "the next segment begins with a first window again"

    made.drop_held()
    made.note_output(0.5, NOW, start=0, stop=25)
    assert made.plays_until == pytest.approx(NOW + 1.8), "codes of a cancelled segment are not heard with the next one"
    made.note_output(0.1, NOW, start=25, stop=30)
    made.note_output(0.0, NOW, start=30, stop=30, is_end=True)
    assert made.plays_until == pytest.approx(NOW + 1.9), "an end without codes settles what was held"


@pytest.mark.parametrize("policy", [Policy(is_whole=True), Policy()])
def test_what_waits_for_no_window_is_heard_as_it_comes(policy: Policy) -> None:
    mel = Edge(EdgeKind.MEL, (), rate_numerator=86)
    assert windows(mel, policy) is None
    assert (windows(Edge(EdgeKind.TOKENS, ()), policy) is None) == policy.is_whole


def test_a_step_works_ahead_when_all_of_its_listeners_have_enough() -> None:
    fresh, near, far = session(), session(plays_until=NOW + 0.5), session(plays_until=NOW + AHEAD_SECONDS + 1)
    assert is_ahead([far], NOW)
    assert not is_ahead([far, near], NOW)
    assert not is_ahead([far, fresh], NOW)
