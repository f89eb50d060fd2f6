"""The seam to CUDA graphs: everything else is the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from services.s2mel_worker.model.stepping import Compute

WARM_UP_RUNS = 3
"""Runs before a capture, in which libraries choose their kernels and take their memory."""


def as_it_is(compute: Compute) -> Compute:
    """Repeat the computation itself."""
    return compute


class GraphCapture:
    """Repeats computations as CUDA graphs, which share one pool of memory: only one is replayed at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> Compute:
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                compute()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A new voice may allocate on its own thread meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            made = compute()

        def replay() -> Tensor:
            graph.replay()
            return made

        return replay
