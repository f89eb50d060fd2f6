"""The vocoder stage's engine: mel frames in, PCM out, as soon as a frame's look-ahead is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode, stage_dtype
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.slots import slots_that_fit
from services.common.stage.spec import StageSpec
from services.vocoder_worker.model.footprint import demand
from services.vocoder_worker.model.provider import Wanted
from services.vocoder_worker.model.session import VocoderSession, load_vocoder
from services.vocoder_worker.model.stream import (
    INNER_LOOK_AHEAD,
    Window,
    context_start,
    piece_stop,
    settled_stop,
    vocode,
)
from services.vocoder_worker.settings import VocoderWorkerSettings
from services.vocoder_worker.spec import stage_spec


class _State:
    """What the engine holds of one session."""

    def __init__(self, session: Session) -> None:
        self.queue = SegmentQueue(session)
        self.resume = session.resume
        self.segment: int | None = None
        self.next_frame = 0
        """First frame whose samples have not gone out."""


class VocoderEngine:
    """See `services.common.stage.engine.Engine`."""

    def __init__(self, vocoder: VocoderSession, spec: StageSpec) -> None:
        self._vocoder = vocoder
        self._hop = vocoder.hop_length
        self.spec = spec
        self.batch_limit = min(vocoder.batch_limit, spec.slots)
        self._states: dict[Session, _State] = {}

    def open(self, session: Session) -> None:
        self._states[session] = _State(session)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """The first frame of the left context of the next sample."""
        if resume.next_index % self._hop:
            raise InvalidRequestError(
                f"sample {resume.next_index} is not a multiple of {self._hop}",
                field="open.resume.next_index",
                stage="vocoder",
            )
        return context_start(resume.next_index // self._hop, session.policy.vocoder_context_frames)

    def push(self, session: Session, chunk: Chunk) -> None:
        if not np.isfinite(chunk.tensors["mel"]).all():
            raise tensor_error("mel holds numbers that are not finite", "chunk.tensors[mel]")
        self._states[session].queue.push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        state = self._states[session]
        if not state.queue.cancel(segment):
            return None
        start = state.next_frame * self._hop if state.segment == segment else 0
        state.segment = None
        return _end(segment, start, FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        if state is None or state.queue.current is None:
            return False
        mel = state.queue.current
        self._enter(state, mel)
        is_ready = self._next_stop(session, state, mel) is not None
        if not is_ready:
            # It waits for more context: what it holds must not keep the caller from sending it.
            state.queue.use(mel.stop)
        return is_ready

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        windows = [self._window(session, self._states[session]) for session in sessions]
        waves = vocode(self._vocoder, windows)
        return [
            (session, self._hand_over(session, self._states[session], pcm))
            for session, pcm in zip(sessions, waves, strict=True)
        ]

    def close(self, session: Session) -> None:
        self._states.pop(session, None)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        raise InvalidRequestError(
            "the vocoder has no voice steps", field="step", reason=Reason.OUT_OF_RANGE, stage="vocoder"
        )

    def warm_up(self) -> None:
        """Vocode half a second of near silence."""
        session = Session("warm-up", 0, self.spec.default_policy, {}, {}, {})
        mel = np.full((43, self.spec.takes.mel_bins), -8.0, np.float32)
        self.open(session)
        self.push(session, Chunk(0, 0, {"mel": mel}, is_segment_end=True))
        self.step([session])
        self.close(session)

    def _enter(self, state: _State, mel: SegmentInput) -> None:
        if state.segment == mel.segment:
            return
        state.segment, state.next_frame = mel.segment, 0
        resume, state.resume = state.resume, None
        if resume is not None and resume.segment == mel.segment:
            state.next_frame = resume.next_index // self._hop

    def _next_stop(self, session: Session, state: _State, mel: SegmentInput) -> int | None:
        """Frame up to which the next samples go; None while more has to come.

        It follows from the borders of the chunks alone, so that samples do not depend on when those arrive.
        """
        if session.policy.is_whole:
            return mel.stop if mel.has_ended else None
        look_ahead = session.policy.vocoder_look_ahead_frames
        for number, border in enumerate(mel.borders, start=1):
            is_last = mel.has_ended and number == len(mel.borders)
            stop = settled_stop(border, is_last, look_ahead)
            if is_last or stop > state.next_frame:
                return stop
        return None

    def _window(self, session: Session, state: _State) -> Window:
        """The frames that the next samples come from, with their context; empty where only an end is left to tell."""
        mel = state.queue.current
        assert mel is not None
        self._enter(state, mel)
        first, stop = state.next_frame, self._next_stop(session, state, mel)
        assert stop is not None
        piece = self._piece_stop(session, first, stop)
        start = max(mel.start, context_start(first, session.policy.vocoder_context_frames))
        frames = np.asarray(mel.items("mel", start, self._context_stop(session, mel, piece, stop)))
        return Window(frames, first - start, max(first, piece) - start)

    def _context_stop(self, session: Session, mel: SegmentInput, piece: int, stop: int) -> int:
        """Where the frames behind a piece end; inside its window they never reach beyond that, whatever has arrived."""
        look_ahead = session.policy.vocoder_look_ahead_frames
        if piece == stop:
            return min(mel.stop, stop + look_ahead)
        return min(stop, piece + max(look_ahead, INNER_LOOK_AHEAD))

    def _piece_stop(self, session: Session, first: int, stop: int) -> int:
        return stop if session.policy.is_whole else piece_stop(first, stop)

    def _hand_over(self, session: Session, state: _State, pcm: Array) -> Chunk:
        """Move on behind the samples that were made, and wrap them."""
        mel = state.queue.current
        assert mel is not None
        first, stop = state.next_frame, self._next_stop(session, state, mel)
        assert stop is not None
        stop = self._piece_stop(session, first, stop)
        start = first * self._hop
        if mel.has_ended and stop == mel.stop:
            state.queue.finish_current()
            state.segment = None
            reason = mel.finish_reason or FinishReason.STOP
            return Chunk(mel.segment, start, {"pcm": pcm}, is_segment_end=True, finish_reason=reason)
        state.next_frame = stop
        state.queue.use(stop)
        mel.drop_before(context_start(stop, session.policy.vocoder_context_frames))
        return Chunk(mel.segment, start, {"pcm": pcm})


def _end(segment: int, start: int, reason: FinishReason) -> Chunk:
    return Chunk(segment, start, {"pcm": np.zeros(0, np.int16)}, is_segment_end=True, finish_reason=reason)


def load_engine(settings: VocoderWorkerSettings) -> VocoderEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: vocoder.onnx is missing or was made from another checkpoint, the device is not to be had, or
            its memory limit holds no slot.
    """
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    mode = numeric_mode(settings.dtype)
    wanted = Wanted(
        device=settings.device,
        gpu_provider=settings.gpu_provider,
        mode=stage_dtype(mode, "vocoder"),
        gpu_memory_mb=settings.gpu_memory_mb,
        tensorrt_cache_dir=settings.tensorrt_cache_dir,
    )
    vocoder = load_vocoder(files, wanted, threads=settings.threads)
    slots = slots_that_fit(
        settings.slots,
        stage="vocoder",
        limit_bytes=vocoder.memory_limit_bytes,
        demand=demand(files, config, max_batch_size=settings.max_batch_size),
    )
    # The mode is that of the pipeline which this worker belongs to: on most devices the graph computes in float32.
    spec = stage_spec(
        config,
        revision=revision(settings.model_dir, mode, config.triptych.policy_table()),
        slots=slots,
        device=vocoder.device,
    )
    return VocoderEngine(vocoder, spec)
