"""Peaks of devices: of GPUs what their data sheets say, of this CPU what it reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bench.roofline.ops import Op
from bench.stages.cpu_clock import cpu_seconds

REACHED_COMPUTE = 0.5
"""Share of a data sheet's FLOP/s that good kernels reach on these shapes; an assumption."""
REACHED_BANDWIDTH = 0.8
"""The same for bytes/s."""


@dataclass(frozen=True)
class Device:
    """Peaks; of GPUs the data sheets', dense, half precision with sums in float32."""

    name: str
    half_tflops: float
    tf32_tflops: float
    """What the vocoder's float32 graph runs at in half-precision mode; plain float32 where there is no TF32."""
    gb_per_second: float
    reached_compute: float = REACHED_COMPUTE
    reached_bandwidth: float = REACHED_BANDWIDTH

    def seconds(self, ops: Sequence[Op], *, is_vocoder: bool = False) -> float:
        """Time of ops one after the other, each bound by what it computes or by what it moves."""
        flops = 1e12 * (self.tf32_tflops if is_vocoder else self.half_tflops) * self.reached_compute
        bytes_per_second = 1e9 * self.gb_per_second * self.reached_bandwidth
        width = 4 if is_vocoder else 2
        return sum(max(op.flops / flops, width * op.elements / bytes_per_second) for op in ops)


GPUS = (
    Device("RTX 2070", 29.9, 7.5, 448),
    Device("RTX 3080", 59.5, 29.8, 760),
    Device("RTX 4090", 165.2, 82.6, 1008),
    Device("A100 80G", 312, 156, 2039),
    Device("H200", 989, 494, 4800),
)


def this_cpu() -> Device:
    """What one thread of this machine reaches, by CPU seconds, in bfloat16 and float32 products and in reading."""
    torch.set_num_threads(1)
    big = torch.randn(1024, 1024)
    halves = big.bfloat16()
    half, full = (2 * 1024**3 / _seconds(partial(torch.mm, x, x)) / 1e12 for x in (halves, big))
    long = torch.zeros(64 * 2**20)
    bandwidth = long.nbytes / _seconds(long.sum) / 1e9
    return Device("this CPU, 1 thread", half, full, bandwidth, reached_compute=1.0, reached_bandwidth=1.0)


def _seconds(compute: Callable[[], object], rounds: int = 5) -> float:
    compute()
    before = cpu_seconds()
    for _ in range(rounds):
        compute()
    return (cpu_seconds() - before) / rounds
