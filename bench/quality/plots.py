"""Curves of latency against quality, one line for each axis of the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.quality.listening import Opinion
from bench.quality.policies import CENTRE, value_of
from bench.quality.scores import Row

Quality = Callable[[Row], float]


def draw(rows: Sequence[Row], opinions: Mapping[str, Opinion], folder: Path) -> list[Path]:
    """Write a picture of each measure of quality; those of judges where they heard anything."""
    pictures: dict[str, tuple[str, Quality]] = {
        "quality-seams.png": (
            "jump at seams beside the whole render, worst place, means",
            lambda row: row.mean_seams.value,
        ),
        "quality-windows.png": ("mel L1 to the whole render, same prompt and solver", lambda row: row.mel_l1),
        "quality-mel.png": ("mel L1 to the best whole render", lambda row: row.best_mel_l1),
    }
    if opinions:
        pictures["quality-likeness.png"] = (
            "cosine of the speaker to the best whole render",
            lambda row: opinions[row.name].likeness_to_whole.value,
        )
        pictures["quality-mos.png"] = ("DistillMOS", lambda row: opinions[row.name].mos.value)
    return [_picture(rows, folder / name, label, of) for name, (label, of) in pictures.items()]


def _picture(rows: Sequence[Row], path: Path, label: str, of: Quality) -> Path:
    figure, axes = plt.subplots(figsize=(9, 6))
    for axis in dict.fromkeys(row.axis for row in rows if row.axis):
        _line(axes, axis, _on_axis(rows, axis), of)
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


def _on_axis(rows: Sequence[Row], axis: str) -> list[tuple[float, Row]]:
    """Values and rows in order, the centre among them where it has a value."""
    found = [(row.axis_value, row) for row in rows if row.axis == axis]
    centre = next((row for row in rows if row.name == CENTRE), None)
    value = value_of(centre.policy, axis) if centre is not None else None
    if centre is not None and value is not None:
        found.append((value, centre))
    return sorted(found, key=lambda pair: pair[0])


def _line(axes: Axes, axis: str, points: Sequence[tuple[float, Row]], of: Quality) -> None:
    axes.plot([row.first_audio_ms for _, row in points], [of(row) for _, row in points], "o-", label=axis, alpha=0.8)
    for value, row in points:
        axes.annotate(f"{value:g}", (row.first_audio_ms, of(row)), fontsize=7)
