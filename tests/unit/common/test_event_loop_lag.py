"""The event loop's lag: what holds the loop up is seen in the histogram."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.common import event_loop_lag, metrics

HELD_SECONDS = 0.06


class Lags(list[float]):
    """Stands for the histogram."""

    def observe(self, seconds: float) -> None:
        self.append(seconds)


async def test_a_call_that_holds_the_loop_up_is_seen_as_long_as_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    lags = Lags()
    monkeypatch.setattr(metrics, "EVENT_LOOP_LAG_SECONDS", lags)
    watching = asyncio.create_task(event_loop_lag.watch(0.001))
    await asyncio.sleep(0)
    time.sleep(HELD_SECONDS)  # noqa: ASYNC251 - the fault that is to be seen
    while not lags:
        await asyncio.sleep(0)
    watching.cancel()

    assert max(lags) >= HELD_SECONDS - 0.001
    assert min(lags) >= 0


def test_the_histogram_tells_a_step_from_a_hiccup() -> None:
    """Steps take milliseconds: the buckets must part them."""
    bounds = [bound for bound in metrics.EVENT_LOOP_LAG_SECONDS._upper_bounds if 0.001 <= bound <= 0.05]

    assert len(bounds) >= 8
