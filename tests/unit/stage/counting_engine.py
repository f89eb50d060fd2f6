"""An engine for tests of the stage runtime: gives each number that it takes back, doubled, one a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.stage.engine import Output
from services.common.stage.policy import Policy
from services.common.stage.segments import SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import (
    DeviceInfo,
    Edge,
    EdgeKind,
    ParamSpec,
    StageSpec,
    TensorSpec,
    VoiceMode,
    VoiceStep,
)

FATAL = 13
"""This number kills the engine."""


def counting_spec(slots: int = 2) -> StageSpec:
    return StageSpec(
        stage="counting",
        model="numbers",
        revision="r1",
        takes=Edge(EdgeKind.TEXT, (TensorSpec("ids", "int32", (-1,)),)),
        gives=Edge(EdgeKind.TOKENS, (TensorSpec("codes", "int32", (-1,)),)),
        slots=slots,
        device=DeviceInfo("none", "cpu", "numpy", "int32"),
        policies=(Policy(),),
        languages=("en",),
        voice_steps=(VoiceStep("sum", (TensorSpec("audio_22050", "float32", (-1,)),), ("total",)),),
        conditions=(TensorSpec("total", "float32", (1,)),),
        options=(TensorSpec("length", "float64", (1,)),),
        params=(ParamSpec("factor", 1, 10, 2, "what numbers are multiplied by", is_integer=True),),
        input_window_chunks=4,
        voice_modes=(VoiceMode.REFERENCE,),
        option_steps=(VoiceStep("emotion_text", (TensorSpec("emotion_text", "uint8", (-1,)),), ("length",)),),
    )


class CountingEngine:
    def __init__(self, slots: int = 2) -> None:
        self.spec = counting_spec(slots)
        self.batch_limit = 256
        self.open_sessions: dict[Session, SegmentQueue] = {}
        self.batches: list[list[str]] = []
        self._next: dict[Session, int] = {}

    def open(self, session: Session) -> None:
        if session.utterance_id == "unopenable":
            raise InvalidRequestError("this one cannot be opened")
        self.open_sessions[session] = SegmentQueue(session)
        self._next[session] = session.resume.next_index if session.resume else 0

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        return resume.next_index

    def push(self, session: Session, chunk: Chunk) -> None:
        self.open_sessions[session].push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        if not self.open_sessions[session].cancel(segment):
            return None
        return Chunk(segment, 0, _numbers([]), is_segment_end=True, finish_reason=FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        queue = self.open_sessions.get(session)
        if queue is None or queue.current is None:
            return False
        return queue.current.has_ended or self._next[session] < queue.current.stop

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        self.batches.append([session.utterance_id for session in sessions])
        return [(session, self._one(session)) for session in sessions]

    def close(self, session: Session) -> None:
        self.open_sessions.pop(session, None)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        if step == "emotion_text":
            return {"length": np.array([len(tensors["emotion_text"])], np.float64)}
        return {"total": tensors["audio_22050"].sum(keepdims=True)}

    def warm_up(self) -> None:
        pass

    def _one(self, session: Session) -> Chunk:
        text = self.open_sessions[session].current
        assert text is not None
        index = self._next[session]
        made = [int(i) * int(session.params["factor"]) for i in text.items("ids", index, index + 1)]
        if FATAL * 2 in made:
            raise RuntimeError("the engine hit a fatal number")
        self._next[session] += len(made)
        self.open_sessions[session].use(self._next[session])
        is_end = text.has_ended and self._next[session] == text.stop
        if is_end:
            self.open_sessions[session].finish_current()
            self._next[session] = 0
        return Chunk(text.segment, index, _numbers(made), is_segment_end=is_end)


def _numbers(values: list[int]) -> Tensors:
    return {"codes": np.array(values, np.int32)}
