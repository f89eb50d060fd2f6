"""More and more listeners at once, until they hear gaps or the time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.call import Call
from bench.load.loads import Caller, Load, Pace
from bench.load.playback import Piece
from bench.load.run import Plan, Results, climb
from bench.load.setting import Conditions, Setting

LONG = 1e6


class FakeCaller:
    """Serves up to so many listeners without a gap; notes what is asked of it."""

    def __init__(self, most: dict[str, int]) -> None:
        self._most = most
        self.asked: list[tuple[str, int, Pace]] = []

    async def streams(self, count: int, seconds: float, setting: Setting, pace: Pace) -> Load:
        self.asked.append((setting.policy, count, pace))
        later = 0.5 if count > self._most[setting.policy] else 0.0
        calls = [Call(0.0, 20, [Piece(0.1, 0.5), Piece(0.2 + later, 0.5)], 1.0) for _ in range(count)]
        return Load(calls, seconds, [[call] for call in calls])


async def climbed(
    most: dict[str, int], streams: Sequence[int], pace: Pace, climb_seconds: float = LONG
) -> dict[str, list[int]]:
    """The numbers of listeners that were measured, by policy."""
    plan = Plan(
        calls=0,
        lengths={},
        streams=streams,
        paces=[pace],
        stream_seconds=10.0,
        climb_seconds=climb_seconds,
        rates=[],
        rate_seconds=0.0,
        seed=1,
    )
    results = [Results(Setting(policy), Conditions(policy, 4, 1.0)) for policy in most]
    await climb(cast("Caller", FakeCaller(most)), plan, results, pace)
    return {each.setting.policy: list(each.streams.get(pace, {})) for each in results}


async def test_listeners_who_hear_gaps_are_joined_by_no_more() -> None:
    assert await climbed({"a": 2}, [1, 2, 3, 4], Pace.HEARD) == {"a": [1, 2, 3]}


async def test_each_setting_climbs_by_itself() -> None:
    assert await climbed({"a": 1, "b": 9}, [1, 2, 3], Pace.HEARD) == {"a": [1, 2], "b": [1, 2, 3]}


async def test_a_saturated_system_is_measured_with_all_numbers_for_its_throughput() -> None:
    assert await climbed({"a": 0}, [1, 2, 3], Pace.RECEIVED) == {"a": [1, 2, 3]}


@pytest.mark.parametrize("pace", Pace)
async def test_no_number_begins_that_the_time_does_not_allow_but_the_first(pace: Pace) -> None:
    assert await climbed({"a": 9}, [1, 2, 3], pace, climb_seconds=0.0) == {"a": [1]}


@given(st.integers(0, 8), st.sets(st.integers(1, 8), min_size=1))
async def test_the_most_listeners_without_a_gap_are_always_found(most: int, streams: set[int]) -> None:
    measured = (await climbed({"a": most}, list(streams), Pace.HEARD))["a"]
    assert [count for count in measured if count <= most] == sorted(count for count in streams if count <= most)
