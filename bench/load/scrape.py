"""What the processes say of themselves at /metrics."""

from __future__ import annotations

import math
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

LAG = "tts_event_loop_lag_seconds"
PEAK = "tts_process_peak_bytes"

Buckets = dict[float, float]
"""Observations up to each upper bound, cumulative as Prometheus counts them."""


def fetch(address: str) -> str:
    """Return the Prometheus text of the process whose metrics are at host:port."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(text: str, name: str) -> float | None:
    """Return the first sample of this name; None when there is none."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return next((sample.value for sample in samples if sample.name == name), None)


def buckets(text: str, name: str) -> Buckets:
    """Return a histogram; empty when there is none of this name."""
    families = (family for family in text_string_to_metric_families(text) if family.name == name)
    samples = (sample for family in families for sample in family.samples if sample.name == f"{name}_bucket")
    return {float(sample.labels["le"]): sample.value for sample in samples}


def between(before: Mapping[float, float], after: Mapping[float, float]) -> Buckets:
    """Return what was observed after `before` was read."""
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def percentile(histogram: Mapping[float, float], percent: float) -> float | None:
    """Return a percentile by linear interpolation inside its bucket, as Prometheus does.

    What lies above the last bound counts as that bound. None when nothing was observed.
    """
    bounds = sorted(histogram)
    if not bounds or not histogram[bounds[-1]]:
        return None
    wanted = histogram[bounds[-1]] * percent / 100
    lower = below = 0.0
    for bound in bounds:
        count = histogram[bound]
        if count >= wanted:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower
