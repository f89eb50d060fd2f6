"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.load.loads import Load, Pace
from bench.load.playback import slacks
from bench.load.run import Results, Run
from bench.load.summary import summary

mpl.use("Agg")

from matplotlib import pyplot as plt


def draw(run: Run, directory: Path) -> list[Path]:
    """Draw what there is to draw; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = [_latency(run.results, directory / "bench-latency.png")]
    first = run.results[0]
    for pace, loads in first.streams.items():
        drawn.append(_slack(pace, loads, directory / f"bench-slack-{pace.value}.png"))
    if first.rates:
        drawn.append(_rates(run.results, directory / "bench-rates.png"))
    return drawn


def _latency(results: Sequence[Results], path: Path) -> Path:
    """The share of calls whose first audio, and first audible audio, was there by then."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for each in results:
        firsts = [call.first_audio_seconds for call in each.calls]
        audibles = [call.first_audible_seconds for call in each.calls]
        _steps(axes, firsts, f"{each.setting.label}: first audio", "-")
        _steps(axes, audibles, f"{each.setting.label}: first audible", "--")
    axes.set(xlabel="ms after the request", ylabel="share of calls", title=str(results[0].conditions))
    axes.legend()
    return _save(figure, path)


def _steps(axes: Any, seconds: Sequence[float | None], label: str, style: str) -> None:
    known = sorted(1000 * each for each in seconds if each is not None)
    if known:
        axes.step(known, np.arange(1, len(known) + 1) / len(known), style, where="post", label=label)


def _slack(pace: Pace, loads: Mapping[int, Load], path: Path) -> Path:
    """How long before it was needed each piece came: below 0 a listener waited."""
    count = len(loads)
    figure, rows = plt.subplots(count, 1, figsize=(9, 2.2 * count), squeeze=False, sharex=True, layout="constrained")
    for axes, (streams, load) in zip(rows[:, 0], loads.items(), strict=True):
        _slack_of(axes, load)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(ylabel="s ahead", title=f"{streams} streams, {pace.value}")
    rows[-1, 0].set_xlabel("s since the load began")
    return _save(figure, path)


def _slack_of(axes: Any, load: Load) -> None:
    began = min((call.asked for call in load.calls), default=0.0)
    for number, calls in enumerate(load.streams):
        times: list[float] = []
        ahead: list[float] = []
        for call in calls:
            # A break in the line between two utterances.
            times += [*(piece.arrived - began for piece in call.pieces), np.nan]
            ahead += [*slacks(call.pieces), np.nan]
        axes.plot(times, ahead, linewidth=0.8, label=f"stream {number + 1}")


def _rates(results: Sequence[Results], path: Path) -> Path:
    """Throughput and first audio by the rate of requests."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    for each in results:
        rates = sorted(each.rates)
        summaries = [summary(each.rates[rate].calls) for rate in rates]
        upper.plot(rates, [each.rates[rate].throughput for rate in rates], "o-", label=each.setting.label)
        lower.plot(
            rates, [one.first_audio_p50_ms or np.nan for one in summaries], "o-", label=f"{each.setting.label} p50"
        )
        lower.plot(
            rates, [one.first_audio_p95_ms or np.nan for one in summaries], "o--", label=f"{each.setting.label} p95"
        )
    upper.set(ylabel="s of speech per s", title=str(results[0].conditions))
    lower.set(xlabel="requests per second", ylabel="first audio, ms")
    upper.legend()
    lower.legend()
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
