"""The S2Mel stage's engine: codes with latents in, mel frames out, one step of the flow of each session's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.byte_lru import ByteLru
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.policy import Policy
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import StageSpec
from services.s2mel_worker.footprint import slot_bytes
from services.s2mel_worker.model.capture import GraphCapture
from services.s2mel_worker.model.crossfade import crossfade
from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.render import Prompt, WindowJob, cut_prompt, start_whole, start_window, whole_prompt
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.stepping import Batched, OneByOne, Stepper
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.s2mel_worker.model.windows import Window, frames_of, next_window, window_before, window_borders
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.s2mel_worker.spec import stage_spec
from services.s2mel_worker.voice import encode_voice

PROMPT_CACHE_BYTES = 256 * 2**20
"""A prompt of 15 s takes 3 MiB at the published size."""
CLOCK_CACHE_BYTES = 64 * 2**20
"""A clock of 25 steps takes 4 MiB at the published size."""


@dataclass(frozen=True)
class _Render:
    """A window that is being rendered."""

    window: Window
    trajectory: Trajectory


class _State:
    """What the engine holds of one session."""

    def __init__(self, session: Session, prompt: Prompt) -> None:
        self.queue = SegmentQueue(session)
        self.prompt = prompt
        self.resume = session.resume
        self.render: _Render | None = None
        self.segment: int | None = None
        """The segment that all below is about."""
        self.start = 0
        """First code of the next window."""
        self.prefix = np.zeros((0, 0), np.float32)
        """Mel frames (t, bins) that were rendered last, as far as the next window reads them."""
        self.look_ahead = np.zeros((0, 0), np.float32)
        """Mel frames (t, bins) that the last window rendered behind its own, as far as the next one blends them."""
        self.known = np.zeros((0, 0), np.float32)
        """Mel frames (t, bins) of the next window, where it is rendered again for its look-ahead alone."""


class S2MelEngine:
    """See `services.common.stage.engine.Engine`.

    Args:
        stage: The networks.
        spec: What the engine says of itself.
        stepper: How renders are carried on; one after another unless told otherwise.
    """

    def __init__(self, stage: S2MelStageModel, spec: StageSpec, stepper: Stepper | None = None) -> None:
        self._stage = stage
        self.spec = spec
        self._stepper = stepper or OneByOne(stage.velocity)
        self.batch_limit = self._stepper.batch_limit
        self._bins = spec.gives.mel_bins
        self._max_codes = stage.config.gpt.max_mel_tokens
        self._states: dict[Session, _State] = {}
        self._prompts = ByteLru[tuple[str, float], Prompt]("s2mel_prompts", max_bytes=PROMPT_CACHE_BYTES)
        self._clocks = ByteLru[Solver, Clock]("s2mel_clocks", max_bytes=CLOCK_CACHE_BYTES)

    @torch.inference_mode()
    def open(self, session: Session) -> None:
        self._check_voice(session)
        self._states[session] = _State(session, self._prompt(session))

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """The code that the state's first frame belongs to: codes are sent from there on.

        That is where the next window's prefix begins; with a crossfade, where the prefix of the window before
        begins, which is rendered once more for its look-ahead.
        """
        if set(resume.state) - {"mel"}:
            raise tensor_error("the state is mel and nothing else", "open.resume.state")
        start = self._window_start(resume, session)
        first_code = max(0, self._replay_start(start, session) - session.policy.prefix_codes)
        frames = _frames_of(start, session) - _frames_of(first_code, session)
        mel = resume.state.get("mel", np.zeros((0, self._bins), np.float32))
        if mel.dtype != np.float32 or mel.shape != (frames, self._bins):
            raise tensor_error(
                f"to resume at frame {resume.next_index} the state needs mel float32 [{frames}, {self._bins}]",
                "open.resume.state[mel]",
            )
        if not np.isfinite(mel).all():
            raise tensor_error("mel holds numbers that are not finite", "open.resume.state[mel]")
        return first_code

    def push(self, session: Session, chunk: Chunk) -> None:
        codes, limit = chunk.tensors["codes"], self.spec.takes.vocabulary
        if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= limit):
            raise tensor_error(f"codes must be 0 to {limit - 1}", "chunk.tensors[codes]")
        if not np.isfinite(chunk.tensors["latents"]).all():
            raise tensor_error("latents hold numbers that are not finite", "chunk.tensors[latents]")
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
        start = 0
        if state.segment == segment:
            start = _frames_of(state.start, session) + len(state.known)
            state.segment = state.render = None
        return self._end(segment, start, FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        if state is None or state.queue.current is None:
            return False
        if state.render is not None:
            return True
        codes = state.queue.current
        self._enter(session, state, codes)
        is_ready = codes.has_ended or self._window(session, state, codes) is not None
        if not is_ready:
            # It waits for more of this segment: what it holds must not keep the caller from sending it.
            state.queue.use(codes.stop)
        return is_ready

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
        with torch.autocast(self._stage.device.type, enabled=False):
            outputs: list[Output] = []
            renders: list[tuple[Session, Trajectory]] = []
            for session in sessions:
                begun = self._begin(session, self._states[session])
                if isinstance(begun, Trajectory):
                    renders.append((session, begun))
                elif begun is not None:
                    outputs.append((session, begun))
            self._stepper.advance([trajectory for _, trajectory in renders])
            done = [session for session, trajectory in renders if trajectory.is_done]
            finished = [(session, self._finish_render(session, self._states[session])) for session in done]
            return outputs + [(session, chunk) for session, chunk in finished if chunk is not None]

    def close(self, session: Session) -> None:
        self._states.pop(session, None)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        return encode_voice(self._stage, step, tensors)

    def warm_up(self) -> None:
        """Render a made-up voice: one window, or where shapes are captured the windows of every policy."""
        if self.batch_limit == 1:
            self._warm_up(self.spec.default_policy, num_codes=50, prompt_seconds=1.0)
            return
        for policy in self.spec.policies:
            self._warm_up(policy, min(self._max_codes, 3 * policy.max_window_codes), policy.prompt_seconds)

    def _warm_up(self, policy: Policy, num_codes: int, prompt_seconds: float) -> None:
        rng = np.random.default_rng(0)
        prompt_codes = int(50 * prompt_seconds) + 2
        frames = frames_of(prompt_codes)
        voice: Tensors = {
            "style": rng.standard_normal(self.spec.conditions[0].shape).astype(np.float32),
            "prompt_codes": np.zeros(prompt_codes, np.int32),
            "prompt_condition": np.zeros((frames, self.spec.conditions[2].shape[1]), np.float32),
            "prompt_mel": np.full((frames, self._bins), -5.0, np.float32),
        }
        # Two steps: a shape is captured when it comes again.
        params = {param.name: param.default for param in self.spec.params} | {"steps": 2.0}
        session = Session("warm-up", 0, policy, params, {}, voice)
        latents = np.zeros((num_codes, self.spec.takes.latent_width), np.float32)
        self.open(session)
        self.push(session, Chunk(0, 0, {"codes": np.zeros(num_codes, np.int32), "latents": latents}, True))
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

    def _prompt(self, session: Session) -> Prompt:
        """What the session's renders see of its voice: all of it in a published render."""
        seconds = float("inf") if session.params["compat"] else session.policy.prompt_seconds
        key = (session.voice_hash, seconds)
        prompt = self._prompts.get(key) if session.voice_hash else None
        if prompt is None:
            voice = self._voice(session)
            prompt = whole_prompt(voice) if seconds == float("inf") else cut_prompt(self._stage, voice, seconds)
            if session.voice_hash:
                self._prompts.put(key, prompt, prompt.num_bytes)
        return prompt

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

    def _clock(self, session: Session) -> Clock:
        params = session.params
        solver = Solver(
            int(params["steps"]), params["sway"], int(params["solver_order"]), int(params["guidance_interval"])
        )
        clock = self._clocks.get(solver)
        if clock is None:
            clock = Clock.of(self._stage.velocity, solver)
            self._clocks.put(solver, clock, clock.num_bytes)
        return clock

    def _enter(self, session: Session, state: _State, codes: SegmentInput) -> None:
        """Set the window's state when a segment begins, or is taken over."""
        if state.segment == codes.segment:
            return
        state.segment, state.start = codes.segment, 0
        state.prefix = state.look_ahead = state.known = np.zeros((0, self._bins), np.float32)
        resume, state.resume = state.resume, None
        if resume is not None and resume.segment == codes.segment:
            start = self._window_start(resume, session)
            state.start = self._replay_start(start, session)
            mel = np.array(resume.state.get("mel", state.prefix))
            num_known = _frames_of(start, session) - _frames_of(state.start, session)
            state.prefix, state.known = mel[: len(mel) - num_known], mel[len(mel) - num_known :]

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

    def _replay_start(self, start: int, session: Session) -> int:
        """First code that a stream renders which is resumed at the window at `start`."""
        policy = session.policy
        if not (start and policy.crossfade_frames and policy.look_ahead_codes):
            return start
        return window_before(policy, start, session.params["duration_factor"]).start

    def _begin(self, session: Session, state: _State) -> Trajectory | Chunk | None:
        """The render to carry on; where there is none to do, the chunk that comes without."""
        if state.render is not None:
            return state.render.trajectory
        codes = state.queue.current
        assert codes is not None
        self._enter(session, state, codes)
        window = self._window(session, state, codes)
        if window is None or window.stop == window.start:
            # The segment ended without a code after the last border, or without any.
            return self._finish(session, state, codes, _frames_of(state.start, session), None)
        if not window.num_frames:
            # Spoken fast, a window of very few codes may own no frame.
            nothing = np.zeros((0, self._bins), np.float32)
            return self._settle(session, state, window, nothing, nothing)
        trajectory = self._trajectory(session, state, codes, window)
        state.render = _Render(window, trajectory)
        return trajectory

    def _trajectory(self, session: Session, state: _State, codes: SegmentInput, window: Window) -> Trajectory:
        device = self._stage.device
        first, stop = window.prefix_start, window.look_ahead_stop
        seen = torch.from_numpy(np.array(codes.items("codes", first, stop), np.int64)).to(device)
        latents = torch.from_numpy(np.array(codes.items("latents", first, stop))).to(device)
        clock, cfg_rate = self._clock(session), session.params["cfg_rate"]
        if session.params["compat"]:
            noise = frame_noise(session.seed, codes.segment, 0, window.num_frames, self._bins).to(device)
            return start_whole(self._stage, seen, latents, state.prompt, noise, clock, cfg_rate, window.duration_factor)
        prefix = torch.from_numpy(state.prefix).to(device)
        job = WindowJob(window, seen, latents, prefix, state.prompt, session.seed, codes.segment)
        return start_window(self._stage, job, clock, cfg_rate)

    def _finish_render(self, session: Session, state: _State) -> Chunk | None:
        assert state.render is not None
        window, mel = state.render.window, state.render.trajectory.mel.float().cpu().numpy()
        state.render = None
        return self._settle(session, state, window, mel[: window.num_frames], mel[window.num_frames :])

    def _settle(self, session: Session, state: _State, window: Window, mel: Array, look_ahead: Array) -> Chunk | None:
        """Make a window's frames its chunk, and get ready for the next; no chunk of frames that are known."""
        codes = state.queue.current
        assert codes is not None
        is_replay, first, policy = len(state.known) > 0, window.first_frame, session.policy
        mel = state.known if is_replay else crossfade(mel, state.look_ahead, policy.crossfade_frames)
        if window.is_last and not is_replay:
            return self._finish(session, state, codes, first, mel)
        state.start, state.known = window.stop, mel[:0]
        state.look_ahead = look_ahead[: policy.crossfade_frames].copy()
        kept = max(0, window.stop - policy.prefix_codes)
        frames = np.concatenate([state.prefix, mel])
        state.prefix = frames[len(frames) - (_frames_of(window.stop, session) - _frames_of(kept, session)) :]
        state.queue.use(window.stop)
        codes.drop_before(kept)
        return None if is_replay else Chunk(codes.segment, first, {"mel": mel})

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
    stage = load_s2mel_stage(files, config, device, settings.voice_encoders)
    stage.serve(getattr(torch, mode))
    spec = stage_spec(
        config,
        revision=revision(settings.model_dir, mode, config.triptych.policy_table()),
        slots=torch_runtime.fitting_slots(
            settings, device, stage="s2mel", bytes_per_slot=slot_bytes(config, bytes_per_number=4)
        ),
        device=torch_runtime.describe_device(device, mode),
    )
    stepper = Batched(stage.velocity, GraphCapture(device)) if device.type == "cuda" else OneByOne(stage.velocity)
    return S2MelEngine(stage, spec, stepper)
