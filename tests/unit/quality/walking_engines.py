"""Engines without networks: code to frame to samples, one for one, each step but every third giving nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.quality.material import Speech, Voice
from bench.quality.stages import Stages
from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.stage.engine import Output
from services.common.stage.policy import Policy
from services.common.stage.segments import SegmentQueue
from services.common.stage.session import Chunk, ResumePoint, Session
from services.common.stage.spec import DeviceInfo, Edge, EdgeKind, ParamSpec, StageSpec, TensorSpec

HOP = 4
"""Samples of a frame."""

BEST = Policy("whole", is_whole=True, prompt_seconds=1.5, params={"gain": 2.0})
"""The best whole render, twice as loud as the streams."""

_RATE_HZ = 400
_STEPS_PER_OUTPUT = 3
_TOKENS = Edge(EdgeKind.TOKENS, (TensorSpec("codes", "int32", (-1,)), TensorSpec("latents", "float32", (-1, 1))))
_MEL = Edge(EdgeKind.MEL, (TensorSpec("mel", "float32", (-1, 1)),), rate_numerator=_RATE_HZ, rate_denominator=HOP)
_PCM = Edge(EdgeKind.PCM, (TensorSpec("pcm", "int16", (-1,)),), rate_numerator=_RATE_HZ, sample_rate_hz=_RATE_HZ)


class WalkingEngine:
    """S2Mel waits for windows of codes and their look-ahead; the vocoder turns every chunk into sound at once."""

    batch_limit = 1

    def __init__(self, stage: str, takes: Edge, gives: Edge) -> None:
        self.spec = StageSpec(
            stage,
            "walking",
            "r1",
            takes,
            gives,
            slots=1,
            device=DeviceInfo("none", "cpu", "numpy", "int32"),
            policies=(Policy(first_window_codes=4), BEST),
            params=(ParamSpec("gain", 0, 10, 1, "what frames are multiplied by"),) if stage == "s2mel" else (),
        )
        self.sessions: list[Session] = []
        self._queues: dict[Session, SegmentQueue] = {}
        self._next = 0
        self._silent = 0

    def open(self, session: Session) -> None:
        if session.policy.prompt_seconds < 0:
            raise InvalidRequestError("no such prompt")
        self.sessions.append(session)
        self._queues[session] = SegmentQueue(session)
        self._next = self._silent = 0

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        raise NotImplementedError

    def push(self, session: Session, chunk: Chunk) -> None:
        self._queues[session].push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        raise NotImplementedError

    def is_ready(self, session: Session) -> bool:
        return self._stop(session) is not None

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        self._silent = (self._silent + 1) % _STEPS_PER_OUTPUT
        return [] if self._silent else [(session, self._output(session)) for session in sessions]

    def close(self, session: Session) -> None:
        del self._queues[session]

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        raise NotImplementedError

    def warm_up(self) -> None:
        raise NotImplementedError

    @property
    def num_open(self) -> int:
        return len(self._queues)

    def _stop(self, session: Session) -> int | None:
        """Where the next output ends, if it can be made."""
        segment = self._queues[session].current
        if segment is None:
            return None
        policy, is_s2mel = session.policy, self.spec.stage == "s2mel"
        if policy.is_whole:
            return segment.stop if segment.has_ended else None
        stop = self._next + policy.first_window_codes if is_s2mel else segment.stop
        look_ahead = policy.look_ahead_codes if is_s2mel else 0
        if segment.has_ended:
            return min(stop, segment.stop)
        return stop if self._next < stop and stop + look_ahead <= segment.stop else None

    def _output(self, session: Session) -> Chunk:
        queue, stop = self._queues[session], self._stop(session)
        segment = queue.current
        assert segment is not None
        assert stop is not None
        start, self._next = self._next, stop
        items = segment.items(segment_name(self.spec.takes), start, stop).reshape(-1)
        is_end = segment.has_ended and stop == segment.stop
        if is_end:
            queue.finish_current()
        if self.spec.stage == "s2mel":
            mel = session.params["gain"] * items.astype(np.float32)[:, None]
            return Chunk(0, start, {"mel": mel}, is_segment_end=is_end)
        return Chunk(0, start * HOP, {"pcm": np.repeat(items, HOP).astype(np.int16)}, is_segment_end=is_end)


def segment_name(edge: Edge) -> str:
    return edge.tensors[0].name


def walking_stages() -> Stages:
    gpt = WalkingEngine("gpt", Edge(EdgeKind.TEXT, (TensorSpec("ids", "int32", (-1,)),)), _TOKENS)
    return Stages(gpt, WalkingEngine("s2mel", _TOKENS, _MEL), WalkingEngine("vocoder", _MEL, _PCM))


def speech_of(voice: Voice, num_codes: int, seed: int = 0) -> Speech:
    """A speech whose codes count up from 1."""
    codes = np.arange(1, num_codes + 1, dtype=np.int32)
    latents = np.zeros((num_codes, 1), np.float32)
    return Speech("said", voice, seed, codes, latents, prefill_seconds=1.0, code_seconds=0.5)
