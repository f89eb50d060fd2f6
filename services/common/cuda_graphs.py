"""CUDA graphs: a step of many small kernels as one launch, where there is memory for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import structlog
import torch
from torch import Tensor

logger = structlog.get_logger(__name__)

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


class Capture(Protocol):
    """Makes computations on tensors that stay where they are repeatable at less cost."""

    def __call__(self, compute: Compute) -> Compute:
        """The computation, to be repeated; itself where it is not captured."""

    def forget(self) -> None:
        """Hear that all that was captured has been given up."""


class GraphCapture:
    """Repeats computations as graphs that share one pool of memory: only one of them is replayed at a time.

    What there is no memory to capture is computed as it is, slower, and the log says so once. On a CPU everything is.

    Args:
        device: Where the computations run.
        capture: Makes one graph.
    """

    def __init__(
        self, device: torch.device, capture: Callable[[Compute, torch.device, Any], Compute] = captured
    ) -> None:
        self._device = device
        self._capture = capture
        self._pool: Any = None
        self._is_pool_used = False
        self._has_warned = False

    def __call__(self, compute: Compute) -> Compute:
        if self._device.type != "cuda":
            return compute
        try:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            repeat = self._capture(compute, self._device, self._pool)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            repeat = None
        if repeat is not None:
            self._is_pool_used = True
            return repeat
        # Not in the handler: while the error lives, its traceback keeps what was allocated alive.
        self._make_room()
        return compute

    def forget(self) -> None:
        """Begin a new pool: all graphs of the old one were given up, and its memory goes with them."""
        self._pool, self._is_pool_used = None, False

    def _make_room(self) -> None:
        if not self._is_pool_used:
            # A pool that no graph holds cannot be captured into again.
            self._pool = None
        torch.cuda.empty_cache()
        if not self._has_warned:
            logger.warning("graph_not_captured", device=str(self._device), reason="no memory is left for it")
            self._has_warned = True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failed allocation is this error, or what it was raised on top of.

    A capture that an allocation broke off may fail once more when it is ended, with an error of its own.
    """
    below: BaseException | None = error
    while below is not None and not isinstance(below, torch.OutOfMemoryError):
        below = below.__cause__ or below.__context__
    return below is not None
