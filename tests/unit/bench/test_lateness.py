"""The measuring process notes when it was stopped itself."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from bench.load.lateness import Lateness, watched


async def test_a_stop_of_the_machine_is_seen_as_long_as_it_was() -> None:
    times = itertools.chain([0.0, 5.02], itertools.count(6.0, 0.02))
    async with watched(lambda: next(times)) as found:
        while len(found.late) < 3:
            await asyncio.sleep(0.001)
    assert found.late[0] == pytest.approx(5.0)
    assert found.late[1:] == pytest.approx([0.0] * len(found.late[1:]), abs=1e-9)
    assert found.percentile_ms(100) == pytest.approx(5000)


def test_nothing_seen_is_no_percentile() -> None:
    assert Lateness().percentile_ms(99) is None
