"""What every torch engine has around it: the numeric mode of its steps, and a GPU without memory as a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from services.common.arrays import Array, Tensors
from services.common.errors import OverloadedError
from services.common.stage.engine import Engine, Output
from services.common.stage.session import Chunk, ResumePoint, Session

Result = TypeVar("Result")


class TorchEngine:
    """An engine that computes in the dtype that its spec states.

    Half precision is autocast: weights stay float32, matrix products and convolutions run in the short type, sums
    and norms in float32. The features of a voice are always computed in float32: that is done once, and an
    error in them would stay for good.
    """

    def __init__(self, engine: Engine) -> None:
        self.spec = engine.spec
        self.batch_limit = engine.batch_limit
        self._engine = engine
        self._kind = engine.spec.device.kind
        self._dtype: torch.dtype = getattr(torch, engine.spec.device.dtype)

    def open(self, session: Session) -> None:
        with self._numbers():
            self._refused(lambda: self._engine.open(session))

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        return self._engine.first_start(resume, session)

    def push(self, session: Session, chunk: Chunk) -> None:
        self._engine.push(session, chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        return self._engine.cancel_segment(session, segment)

    def is_ready(self, session: Session) -> bool:
        return self._engine.is_ready(session)

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        with self._numbers():
            return self._refused(lambda: self._engine.step(sessions))

    def close(self, session: Session) -> None:
        self._engine.close(session)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        return self._refused(lambda: self._engine.encode_voice(step, tensors))

    def warm_up(self) -> None:
        with self._numbers():
            self._engine.warm_up()

    def _numbers(self) -> torch.autocast:
        is_short = self._dtype != torch.float32
        return torch.autocast(self._kind, self._dtype if is_short else None, enabled=is_short)

    def _refused(self, compute: Callable[[], Result]) -> Result:
        """Turn a failed allocation into OverloadedError, and give back what torch keeps for later."""
        try:
            return compute()
        except torch.OutOfMemoryError:
            pass
        # Not in the handler: while the error lives, its traceback keeps the tensors of the step alive.
        if self._kind == "cuda":
            torch.cuda.empty_cache()
        raise OverloadedError("the GPU has no memory left for this step", stage=self.spec.stage)
