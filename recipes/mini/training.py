"""What every training step shares: device, precision, time budget, checkpoints, and curves on paper."""

from __future__ import annotations

import csv
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn

matplotlib.use("Agg")
from matplotlib import pyplot

State = dict[str, Any]


def pick_device() -> torch.device:
    """One CUDA device where there is one, else one CPU thread (the most work per core)."""
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        return torch.device("cuda")
    torch.set_num_threads(int(os.environ.get("TRIPTYCH_MINI_THREADS", "1")))
    torch.set_flush_denormal(True)
    # Few fixed shapes come again and again: keep their compiled kernels.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    return torch.device("cpu")


class Precision:
    """bfloat16 autocast where it pays: always on CUDA, on a CPU only if a trial says so."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_half = device.type == "cuda"

    def __call__(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_half)

    def choose(self, trial: Callable[[], object], rounds: int = 3) -> None:
        """Time `trial` in both modes; some CPUs are twice as fast in bfloat16, some half as fast."""
        if self.device.type == "cuda":
            return
        seconds = {}
        for self.is_half in (True, False):
            trial()
            started = time.process_time()
            for _ in range(rounds):
                trial()
            seconds[self.is_half] = (time.process_time() - started) / rounds
        self.is_half = seconds[True] < seconds[False]
        print(f"precision: bf16 {seconds[True]:.3f} s, fp32 {seconds[False]:.3f} s per step", flush=True)


class Budget:
    """A wall-clock allowance; learning rates follow how much of it is spent."""

    def __init__(self, minutes: float) -> None:
        self.started = time.time()
        self.seconds = minutes * 60

    @property
    def fraction(self) -> float:
        return min(1.0, (time.time() - self.started) / self.seconds)

    @property
    def is_spent(self) -> bool:
        return self.fraction >= 1.0

    def rate(self, peak: float, steps_done: int, warm_up: int, floor: float = 0.03) -> float:
        """Linear warm-up by steps of this run, then a cosine over the time of this run."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.fraction))
        return peak * min(1.0, (steps_done + 1) / warm_up) * (floor + (1 - floor) * cosine)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Groups may carry a `scale` of their own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def save_state(path: Path, state: State) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> State | None:
    if not path.exists():
        return None
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def follow(average: Iterable[Tensor], model: Iterable[Tensor], step: int, limit: float = 0.995) -> None:
    """Move an exponential average towards the model; short at first, so that it never lags a short run."""
    with torch.no_grad():
        decay = min(limit, (step + 1) / (step + 20))
        torch._foreach_lerp_(list(average), list(model), 1 - decay)


class Curves:
    """Running means printed every `period` steps and kept as CSV; `plot` draws them."""

    def __init__(self, directory: Path, name: str, period: int = 50) -> None:
        self.directory, self.name, self.period = directory, name, period
        self.path = directory / "curve.csv"
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0
        self.started = time.time()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.sums[key] += value
        self.count += 1
        if self.count == self.period:
            self.record(step, {key: value / self.count for key, value in self.sums.items()})
            self.sums.clear()
            self.count = 0

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """One CSV row per value, so that runs with other columns can be appended."""
        seconds = time.time() - self.started
        with self.path.open("a", newline="") as out:
            writer = csv.writer(out)
            writer.writerows([step, f"{seconds:.0f}", key, f"{value:.5g}"] for key, value in values.items())
        text = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
        print(f"{self.name} {step:6d} {seconds:5.0f} s  {text}", flush=True)

    def plot(self) -> None:
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        with self.path.open() as lines:
            for step, _, key, value in csv.reader(lines):
                series[key].append((float(step), float(value)))
        columns = 3
        figure, axes = pyplot.subplots(
            -(-len(series) // columns), columns, figsize=(12, 2.6 * -(-len(series) // columns)), squeeze=False
        )
        for axis in axes.flat[len(series) :]:
            axis.remove()
        for axis, (key, points) in zip(axes.flat, series.items(), strict=False):
            axis.plot(*zip(*points, strict=True), lw=1)
            axis.set_title(f"{self.name}: {key}", fontsize=9)
        figure.tight_layout()
        figure.savefig(self.directory / "curve.png", dpi=80)
        pyplot.close(figure)


def check_gate(name: str, value: float, limit: float, at_most: bool = True) -> bool:
    """Print whether a figure lets the next step begin; a missed gate is reported, never hidden."""
    is_met = value <= limit if at_most else value >= limit
    sign = "<=" if at_most else ">="
    print(f"gate: {name} {value:.3f} {sign} {limit}: {'met' if is_met else 'MISSED'}", flush=True)
    return is_met
