"""A device without memory: a refusal while serving, one clear error at the start; the device is made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointError
from services.common.errors import OverloadedError
from services.common.stage.engine import Output
from services.common.stage.session import Session
from services.common.torch_engine import TorchEngine
from services.common.torch_runtime import enough_memory
from tests.unit.stage.counting_engine import CountingEngine

CPU = torch.device("cpu")
FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8.00 GiB."


class FullDevice(CountingEngine):
    """Has no memory for anything until `free_memory` was called, where that helps at all."""

    device = CPU

    def __init__(self, *, has_something_to_free: bool = True) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._helps = has_something_to_free
        self._is_full = True

    def open(self, session: Session) -> None:
        self._allocate("open")

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        self._allocate("step")
        return []

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        self._allocate("encode")
        return {}

    def warm_up(self) -> None:
        self._allocate("warm up")

    def free_memory(self) -> None:
        self.calls.append("free")
        self._is_full = not self._helps

    def _allocate(self, what: str) -> None:
        self.calls.append(what)
        if self._is_full:
            raise torch.OutOfMemoryError(FULL)


def session() -> Session:
    return Session("u", 0, CountingEngine().spec.default_policy, {}, {}, {})


@pytest.mark.parametrize("call", ["open", "step"])
def test_what_can_be_made_again_is_given_up_before_the_refusal_and_the_next_call_works(call: str) -> None:
    inner = FullDevice()
    engine = TorchEngine(inner)
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: engine.open(session()),
        "step": lambda: engine.step([session()]),
    }

    with pytest.raises(OverloadedError, match="no memory left") as refused:
        calls[call]()
    assert inner.calls == [call, "free"]
    assert refused.value.stage == inner.spec.stage
    assert refused.value.is_retryable
    assert refused.value.__context__ is None, "the traceback would keep the step's tensors alive"
    calls[call]()
    assert inner.calls == [call, "free", call]


def test_the_thread_that_encodes_voices_leaves_the_freeing_to_the_engines_own() -> None:
    """The caches are for one thread, and graphs may be running."""
    inner = FullDevice()
    engine = TorchEngine(inner)

    with pytest.raises(OverloadedError, match="no memory left for this voice") as refused:
        engine.encode_voice("sum", {})
    assert refused.value.__context__ is None
    assert inner.calls == ["encode"]
    engine.step([session()])
    engine.step([session()])
    assert inner.calls == ["encode", "free", "step", "step"]
    assert engine.encode_voice("sum", {}) == {}


def test_a_device_that_stays_full_refuses_every_time() -> None:
    engine = TorchEngine(FullDevice(has_something_to_free=False))
    for _ in range(3):
        with pytest.raises(OverloadedError):
            engine.step([session()])


def test_anything_else_is_no_refusal() -> None:
    class Broken(FullDevice):
        def step(self, sessions: Sequence[Session]) -> list[Output]:
            raise RuntimeError("something else")

    inner = Broken()
    with pytest.raises(RuntimeError, match="something else"):
        TorchEngine(inner).step([])
    assert not inner.calls


def test_a_device_too_small_to_warm_up_is_an_error_of_the_start_that_says_what_to_do() -> None:
    with pytest.raises(CheckpointError, match=r"needs 20.00 MiB more; raise gpu_memory_mb .* fewer slots") as refused:
        TorchEngine(FullDevice()).warm_up()
    assert "counting worker" in str(refused.value)
    assert "to warm up" in str(refused.value)
    assert refused.value.__suppress_context__, "one error, not a traceback of two"
    with pytest.raises(CheckpointError, match="a smaller max_batch_size, a smaller cache or dtype fp16$"):
        TorchEngine(FullDevice(), ("a smaller cache", "dtype fp16")).warm_up()


def test_it_says_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    mebibyte = 2**20
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (300 * mebibyte, 8192 * mebibyte))
    monkeypatch.setattr("torch.cuda.get_per_process_memory_fraction", lambda device: 0.125)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 1000 * mebibyte)
    told = "not the memory on cuda:0 to load: it holds 1000 MiB of the 1024 that it may take, with 300 of 8192 free"
    with pytest.raises(CheckpointError, match=told), enough_memory("gpt", torch.device("cuda:0"), "load"):
        raise torch.OutOfMemoryError(FULL)
