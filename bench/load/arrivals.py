"""When the requests of an open loop are made: they do not wait for answers, as callers do not wait for each other."""

from __future__ import annotations

import numpy as np


def poisson(rate_per_second: float, seconds: float, *, seed: int) -> list[float]:
    """Return the times, in seconds from the start, of a Poisson process; the same seed gives the same times.

    At least one request is made, at 0 if need be, so that every rate has a figure.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    times: list[float] = []
    at = float(generator.exponential(1 / rate_per_second))
    while at < seconds:
        times.append(at)
        at += float(generator.exponential(1 / rate_per_second))
    return times or [0.0]
