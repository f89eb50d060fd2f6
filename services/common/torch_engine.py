"""What every torch engine has around it: a GPU without memory becomes a refusal, and the worker goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.errors import OverloadedError
from services.common.stage.engine import Engine, Output
from services.common.stage.session import Chunk, ResumePoint, Session

Result = TypeVar("Result")


class FreeingEngine(Engine, Protocol):
    """An engine that can do without some of its memory."""

    device: torch.device

    def free_memory(self) -> None:
        """Give up all that can be made again, such as caches and captured steps; sessions in work go on."""


class TorchEngine:
    """An engine that refuses what its device has no memory for.

    No number is changed here, nor cast: in half precision the heavy layers hold that type themselves, and all else,
    the features of a voice above all, is float32. A voice is computed once, and an error in it would stay for good.

    Args:
        engine: What computes.
        savers: The stage's own settings that take less memory, for messages.
    """

    def __init__(self, engine: FreeingEngine, savers: Sequence[str] = ()) -> None:
        self.spec = engine.spec
        self.batch_limit = engine.batch_limit
        self._engine = engine
        self._savers = savers
        self._device = engine.device
        self._is_memory_wanted = threading.Event()
        """The thread that encodes voices found none; only the engine's own may touch what the engine keeps."""

    def open(self, session: Session) -> None:
        self._or_refused(lambda: self._engine.open(session))

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        return self._engine.first_start(resume, session)

    def push(self, session: Session, chunk: Chunk) -> None:
        self._engine.push(session, chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        return self._engine.cancel_segment(session, segment)

    def is_ready(self, session: Session) -> bool:
        return self._engine.is_ready(session)

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        return self._or_refused(lambda: self._engine.step(sessions))

    def close(self, session: Session) -> None:
        self._engine.close(session)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        made = _made(lambda: self._engine.encode_voice(step, tensors))
        if made is None:
            self._is_memory_wanted.set()
            self._return_blocks()
            raise self._refusal("voice")
        return made

    def warm_up(self) -> None:
        with torch_runtime.enough_memory(self.spec.stage, self._device, "warm up", self._savers):
            self._engine.warm_up()

    def free_memory(self) -> None:
        """Give up what can be made again, and give back what torch keeps for later."""
        if self._device.type == "cuda":
            # A graph that is being replayed must not go.
            torch.cuda.synchronize(self._device)
        self._engine.free_memory()
        self._return_blocks()

    def _or_refused(self, compute: Callable[[], Result]) -> Result:
        """Turn a failed allocation into OverloadedError, and make room for the next call."""
        if self._is_memory_wanted.is_set():
            self._is_memory_wanted.clear()
            self.free_memory()
        made = _made(lambda: [compute()])
        if made is None:
            self.free_memory()
            raise self._refusal("step")
        return made[0]

    def _refusal(self, what: str) -> OverloadedError:
        return OverloadedError(f"the GPU has no memory left for this {what}", stage=self.spec.stage)

    def _return_blocks(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _made(compute: Callable[[], Result]) -> Result | None:
    """What comes of it, or None for a failed allocation.

    What is done about that is done behind the handler: while the error lives, its traceback keeps the tensors of the
    step alive.
    """
    try:
        return compute()
    except torch.OutOfMemoryError:
        return None
