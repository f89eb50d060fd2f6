"""A decode step as a CUDA graph that takes its inputs anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from services.common.cuda_graphs import captured

Step = Callable[[Tensor], Tensor]


def replayable(step: Step, inputs: Tensor, pool: Any = None) -> Step:
    """The step as a graph for inputs of this shape, see `captured`; off GPUs the step as it is.

    Args:
        step: Reads no number on the host and has fixed shapes.
        inputs: Values that the step may run on several times.
        pool: Memory that graphs share which never run at once.
    """
    if not inputs.is_cuda:
        return step
    held = inputs.clone()
    repeat = captured(lambda: step(held), inputs.device, pool)

    def replay(values: Tensor) -> Tensor:
        held.copy_(values, non_blocking=True)
        return repeat()

    return replay
