"""The S2Mel stage's engine: codes with latents in, mel frames out, one window of a session a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import StageSpec
from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.render import Prompt, cut_prompt, render_whole, render_window
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.windows import Window, frames_of, next_window, window_borders
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.s2mel_worker.spec import stage_spec
from services.s2mel_worker.voice import encode_voice


class _State:
    """What the engine holds of one session."""

    def __init__(self, session: Session, voice: Voice, prompt: Prompt) -> None:
        self.queue = SegmentQueue(session)
        self.voice = voice
        self.prompt = prompt
        self.resume = session.resume
        self.segment: int | None = None
        """The segment that `start`, `index` and `prefix` are about."""
        self.start = 0
        """First code of the next window."""
        self.prefix = np.zeros((0, 0), np.float32)
        """Mel frames (t, bins) that were rendered last, as far as the next window reads them."""


class S2MelEngine:
    """See `services.common.stage.engine.Engine`."""

    def __init__(self, stage: S2MelStageModel, spec: StageSpec) -> None:
        self._stage = stage
        self.spec = spec
        self._bins = spec.gives.mel_bins
        self._max_codes = stage.config.gpt.max_mel_tokens
        self._states: dict[Session, _State] = {}

    @torch.inference_mode()
    def open(self, session: Session) -> None:
        self._check_voice(session)
        voice = self._voice(session)
        prompt = cut_prompt(self._stage, voice, session.policy.prompt_seconds)
        self._states[session] = _State(session, voice, prompt)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """The code that the next window's prefix begins with."""
        if set(resume.state) - {"mel"}:
            raise tensor_error("the state is mel and nothing else", "open.resume.state")
        start = self._window_start(resume, session)
        prefix_start = max(0, start - session.policy.prefix_codes)
        frames = _frames_of(start, session) - _frames_of(prefix_start, session)
        mel = resume.state.get("mel", np.zeros((0, self._bins), np.float32))
        if mel.dtype != np.float32 or mel.shape != (frames, self._bins):
            raise tensor_error(
                f"to resume at frame {resume.next_index} the state needs mel float32 [{frames}, {self._bins}]",
                "open.resume.state[mel]",
            )
        return prefix_start

    def push(self, session: Session, chunk: Chunk) -> None:
        codes, limit = chunk.tensors["codes"], self.spec.takes.vocabulary
        if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= limit):
            raise tensor_error(f"codes must be 0 to {limit - 1}", "chunk.tensors[codes]")
        queue = self._states[session].queue
        queue.push(chunk)
        if queue.last_stop > self._max_codes:
            raise InvalidRequestError(
                f"segment {chunk.segment} has more than {self._max_codes} codes",
                field="chunk",
                reason=Reason.OUT_OF_RANGE,
                stage="s2mel",
            )

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        state = self._states[session]
        if not state.queue.cancel(segment):
            return None
        start = _frames_of(state.start, session) if state.segment == segment else 0
        state.segment = None
        return self._end(segment, start, FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        if state is None or state.queue.current is None:
            return False
        codes = state.queue.current
        self._enter(session, state, codes)
        is_ready = codes.has_ended or self._window(session, state, codes) is not None
        if not is_ready:
            # It waits for more of this segment: what it holds must not keep the caller from sending it.
            state.queue.use(codes.stop)
        return is_ready

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
        return [(session, self._render(session, self._states[session])) for session in sessions]

    def close(self, session: Session) -> None:
        self._states.pop(session, None)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        return encode_voice(self._stage, step, tensors)

    def warm_up(self) -> None:
        """Render a window of one code over and over in a made-up voice."""
        rng = np.random.default_rng(0)
        codes, frames = 50, frames_of(50)
        voice: Tensors = {
            "style": rng.standard_normal(self.spec.conditions[0].shape).astype(np.float32),
            "prompt_codes": np.zeros(codes, np.int32),
            "prompt_condition": np.zeros((frames, self.spec.conditions[2].shape[1]), np.float32),
            "prompt_mel": np.full((frames, self._bins), -5.0, np.float32),
        }
        params = {param.name: param.default for param in self.spec.params} | {"steps": 1.0}
        session = Session("warm-up", 0, self.spec.default_policy, params, {}, voice)
        latents = np.zeros((codes, self.spec.takes.latent_width), np.float32)
        self.open(session)
        self.push(session, Chunk(0, 0, {"codes": np.zeros(codes, np.int32), "latents": latents}, True))
        while self.is_ready(session):
            self.step([session])
        self.close(session)

    def _check_voice(self, session: Session) -> None:
        voice, limit = session.voice, self.spec.takes.vocabulary
        codes = voice["prompt_codes"]
        if int(codes.min()) < 0 or int(codes.max()) >= limit:
            raise tensor_error(f"prompt_codes must be 0 to {limit - 1}", "voice.tensors[prompt_codes]")
        if len(voice["prompt_condition"]) != len(voice["prompt_mel"]):
            raise tensor_error("prompt_condition and prompt_mel have different lengths", "voice.tensors")

    def _voice(self, session: Session) -> Voice:
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in session.voice.items()}
        return self._stage.on_device(
            Voice(
                style=arrays["style"],
                prompt_codes=arrays["prompt_codes"].long(),
                prompt_condition=arrays["prompt_condition"],
                prompt_mel=arrays["prompt_mel"],
            )
        )

    def _enter(self, session: Session, state: _State, codes: SegmentInput) -> None:
        """Set the window's state when a segment begins, or is taken over."""
        if state.segment == codes.segment:
            return
        state.segment, state.start = codes.segment, 0
        state.prefix = np.zeros((0, self._bins), np.float32)
        resume, state.resume = state.resume, None
        if resume is not None and resume.segment == codes.segment:
            state.start = self._window_start(resume, session)
            state.prefix = np.array(resume.state.get("mel", state.prefix))

    def _window(self, session: Session, state: _State, codes: SegmentInput) -> Window | None:
        factor = session.params["duration_factor"]
        if self._is_whole(session):
            is_there = codes.has_ended and codes.length
            return Window(0, codes.stop, 0, codes.stop, is_last=True, duration_factor=factor) if is_there else None
        return next_window(session.policy, state.start, codes.stop, is_ended=codes.has_ended, duration_factor=factor)

    def _is_whole(self, session: Session) -> bool:
        return session.policy.is_whole or bool(session.params["compat"])

    def _window_start(self, resume: ResumePoint, session: Session) -> int:
        start, last = 0, _frames_of(self._max_codes, session)
        for start, _ in window_borders(session.policy, session.params["duration_factor"]):
            if _frames_of(start, session) >= min(resume.next_index, last):
                break
        if _frames_of(start, session) == resume.next_index:
            return start
        raise InvalidRequestError(
            f"frame {resume.next_index} is not the border of a window under this policy",
            field="open.resume.next_index",
            stage="s2mel",
        )

    def _render(self, session: Session, state: _State) -> Chunk:
        codes = state.queue.current
        assert codes is not None
        window = self._window(session, state, codes)
        if window is None or window.stop == window.start:
            # The segment ended without a code after the last border, or without any.
            return self._finish(session, state, codes, _frames_of(state.start, session), None)
        mel = self._frames(session, state, codes, window)
        first = window.first_frame
        if window.is_last:
            return self._finish(session, state, codes, first, mel)
        state.start = window.stop
        kept = max(0, window.stop - session.policy.prefix_codes)
        frames = np.concatenate([state.prefix, mel])
        state.prefix = frames[len(frames) - (_frames_of(window.stop, session) - _frames_of(kept, session)) :]
        state.queue.use(window.stop)
        codes.drop_before(kept)
        return Chunk(codes.segment, first, {"mel": mel})

    def _frames(self, session: Session, state: _State, codes: SegmentInput, window: Window) -> Array:
        """Mel frames (t, bins) that the window adds."""
        if not window.num_frames:
            # Spoken fast, a window of very few codes may own no frame.
            return np.zeros((0, self._bins), np.float32)
        device = self._stage.device
        first, stop = window.prefix_start, window.look_ahead_stop
        seen = torch.from_numpy(np.array(codes.items("codes", first, stop), np.int64)).to(device)
        latents = torch.from_numpy(np.array(codes.items("latents", first, stop))).to(device)
        num_steps, cfg_rate = int(session.params["steps"]), session.params["cfg_rate"]
        if session.params["compat"]:
            noise = frame_noise(session.seed, codes.segment, 0, window.num_frames, self._bins).to(device)
            mel = render_whole(
                self._stage,
                seen,
                latents,
                state.voice,
                noise,
                num_steps=num_steps,
                cfg_rate=cfg_rate,
                duration_factor=window.duration_factor,
            )
        else:
            mel = render_window(
                self._stage,
                window,
                seen,
                latents,
                torch.from_numpy(state.prefix).to(device),
                state.prompt,
                seed=session.seed,
                segment=codes.segment,
                num_steps=num_steps,
                cfg_rate=cfg_rate,
            )
        return mel.float().cpu().numpy()

    def _finish(self, session: Session, state: _State, codes: SegmentInput, first: int, mel: Array | None) -> Chunk:
        state.queue.finish_current()
        state.segment = None
        reason = codes.finish_reason or FinishReason.STOP
        if mel is None:
            return self._end(codes.segment, first, reason)
        return Chunk(codes.segment, first, {"mel": mel}, is_segment_end=True, finish_reason=reason)

    def _end(self, segment: int, start: int, reason: FinishReason) -> Chunk:
        nothing = {"mel": np.zeros((0, self._bins), np.float32)}
        return Chunk(segment, start, nothing, is_segment_end=True, finish_reason=reason)


def _frames_of(num_codes: int, session: Session) -> int:
    return frames_of(num_codes, session.params["duration_factor"])


def load_engine(settings: S2MelWorkerSettings) -> S2MelEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: A file or tensor is missing, unknown or of another shape, or the device is not to be had.
    """
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    device, mode = torch_runtime.prepare(settings), numeric_mode(settings.dtype)
    stage = load_s2mel_stage(files, config, device)
    spec = stage_spec(
        config,
        revision=revision(settings.model_dir, mode, config.triptych.policy.model_dump()),
        slots=settings.slots,
        device=torch_runtime.describe_device(device, mode),
    )
    return S2MelEngine(stage, spec)
