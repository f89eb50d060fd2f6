"""CUDA graphs: a step of many small kernels as one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Compute = Callable[[], Tensor]

_WARM_UP_RUNS = 3
"""Runs before a capture, in which libraries choose their kernels and take their memory."""


def captured(compute: Compute, device: torch.device, pool: Any = None) -> Compute:
    """A computation on tensors that stay where they are, as a graph; what it gives holds until it is called again.

    Args:
        compute: Reads no number on the host and has fixed shapes; it may be run several times.
        device: The GPU.
        pool: Memory that graphs share which never run at once, from `torch.cuda.graph_pool_handle`.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_RUNS):
            compute()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the one that encodes voices, may allocate while this one captures.
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        made = compute()

    def replay() -> Tensor:
        graph.replay()
        return made

    return replay
