"""Curves of latency against quality, one line for each axis of the sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

from bench.quality.policies import CENTRE
from bench.quality.scores import Row

_DEFAULT_STEPS = "steps"


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write one picture for the seams and one for the distance to the whole render."""
    pictures = {
        "quality-seams.png": ("seam ratio p95", lambda row: row.seams.value),
        "quality-mel.png": ("mel L1 to the whole render", lambda row: row.mel_l1),
    }
    return [_picture(rows, folder / name, label, of) for name, (label, of) in pictures.items()]


def _picture(rows: Sequence[Row], path: Path, label: str, of: Callable[[Row], float]) -> Path:
    figure, axes = plt.subplots(figsize=(9, 6))
    centre = next((row for row in rows if row.name == CENTRE.name), None)
    for axis in dict.fromkeys(row.axis for row in rows if row.axis):
        line = [row for row in rows if row.axis == axis]
        if centre is not None and axis != _DEFAULT_STEPS:
            line = sorted([*line, centre], key=lambda row: _value(row, axis))
        axes.plot([row.first_audio_ms for row in line], [of(row) for row in line], "o-", label=axis, alpha=0.8)
        for row in line:
            axes.annotate(f"{_value(row, axis):g}", (row.first_audio_ms, of(row)), fontsize=7)
    for row in rows:
        if not row.axis:
            axes.plot(row.first_audio_ms, of(row), "k*", markersize=11)
            axes.annotate(row.name, (row.first_audio_ms, of(row)), fontsize=9, fontweight="bold")
    axes.set(xlabel="first audio by the cost model, ms of CPU on one core", ylabel=label)
    if any(row.axis for row in rows):
        axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _value(row: Row, axis: str) -> float:
    return row.axis_value if row.axis == axis else float(getattr(CENTRE, axis))
