"""CUDA graphs: a step of many small kernels as one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]

_WARM_UPS = 2
"""Runs before a capture: libraries choose kernels and take workspace at the first ones."""


def replayable(step: Step, inputs: Tensor, pool: Any = None) -> Step:
    """The step as a graph for inputs of this shape; off GPUs the step as it is.

    A graph reads and writes fixed memory, so what it gives holds until it is called again.

    Args:
        step: Reads no number on the host and has fixed shapes.
        inputs: Values that the step may run on several times.
        pool: Memory that graphs share which never run at once, from `torch.cuda.graph_pool_handle`.
    """
    if not inputs.is_cuda:
        return step
    held = inputs.clone()
    stream = torch.cuda.Stream(inputs.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step(held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the one that encodes voices, may allocate while this one captures.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        output = step(held)

    def replay(values: Tensor) -> Tensor:
        held.copy_(values, non_blocking=True)
        graph.replay()
        return output

    return replay
