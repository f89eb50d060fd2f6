"""The seam to CUDA graphs: everything else is the same on every device."""

from __future__ import annotations

import torch

from services.common.cuda_graphs import Compute, captured


def as_it_is(compute: Compute) -> Compute:
    """Repeat the computation itself."""
    return compute


class GraphCapture:
    """Repeats computations as CUDA graphs, which share one pool of memory: only one is replayed at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> Compute:
        return captured(compute, self._device, self._pool)
