"""What is captured, and what there is no memory to capture; the GPU is made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from services.common.cuda_graphs import Compute, GraphCapture

GPU = torch.device("cuda")


class Captures:
    """Captures a computation as one that gives its result and 100; fails as it is told to."""

    def __init__(self) -> None:
        self.pools: list[Any] = []
        self.fail: Callable[[], None] = lambda: None

    def __call__(self, compute: Compute, device: torch.device, pool: Any) -> Compute:
        self.pools.append(pool)
        self.fail()
        return lambda: compute() + 100


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def out_of_memory_and_then_the_capture_cannot_be_ended() -> None:
    try:
        out_of_memory()
    finally:
        raise RuntimeError("operation failed due to a previous error during capture")


def something_else() -> None:
    raise RuntimeError("illegal memory access")


def one() -> Tensor:
    return torch.ones(())


@pytest.fixture(autouse=True)
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    numbers = count(1)
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: next(numbers))
    return numbers


def test_graphs_share_one_pool() -> None:
    captures = Captures()
    capture = GraphCapture(GPU, captures)

    assert [int(capture(one)()) for _ in range(3)] == [101] * 3
    assert captures.pools == [1, 1, 1]


def test_off_gpus_a_graph_is_the_plain_call() -> None:
    captures = Captures()

    assert GraphCapture(torch.device("cpu"), captures)(one) is one
    assert not captures.pools


@pytest.mark.parametrize("fail", [out_of_memory, out_of_memory_and_then_the_capture_cannot_be_ended])
def test_what_there_is_no_memory_to_capture_is_computed_as_it_is_and_said_once(fail: Callable[[], None]) -> None:
    captures = Captures()
    capture = GraphCapture(GPU, captures)
    with capture_logs() as lines:
        first = capture(one)
        captures.fail = fail
        second, third = capture(one), capture(one)
        captures.fail = lambda: None
        last = capture(one)

    assert [int(compute()) for compute in (first, second, third, last)] == [101, 1, 1, 101]
    assert [line["event"] for line in lines] == ["graph_not_captured"]


def test_a_pool_into_which_nothing_was_captured_is_not_used_again() -> None:
    """Torch refuses to capture into a pool that it knows and that no graph holds."""
    captures = Captures()
    capture = GraphCapture(GPU, captures)
    captures.fail = out_of_memory
    capture(one)
    captures.fail = lambda: None
    capture(one)
    captures.fail = out_of_memory
    capture(one)
    captures.fail = lambda: None
    capture(one)
    capture.forget()
    capture(one)

    assert captures.pools == [1, 2, 2, 2, 3]


def test_any_other_error_ends_the_capture() -> None:
    captures = Captures()
    captures.fail = something_else
    with pytest.raises(RuntimeError, match="illegal memory access"):
        GraphCapture(GPU, captures)(one)
