"""Pictures of a soak."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from bench.soak.memory import MemoryTrace

mpl.use("Agg")

from matplotlib import pyplot as plt


def draw_memory(trace: MemoryTrace, path: Path) -> Path:
    """Draw the resident memory of each process over time; returns the file."""
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for name, values in trace.megabytes.items():
        axes.plot([seconds / 60 for seconds in trace.seconds[: len(values)]], values, label=name)
    axes.set(xlabel="minutes", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
