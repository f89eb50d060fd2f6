"""The S2Mel stage's engine: codes with latents in, mel frames out, one step of the flow of each session's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.cuda_graphs import GraphCapture
from services.common.devices import numeric_mode, stage_dtype
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, ResumePoint, Session
from services.common.stage.slots import MEBIBYTE
from services.common.stage.spec import StageSpec
from services.s2mel_worker.footprint import demand, max_plan_bytes
from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.render import WindowJob, start_whole, start_window
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.stepping import Batched, OneByOne, Stepper
from services.s2mel_worker.model.trajectory import Trajectory
from services.s2mel_worker.model.windows import Window, frames_of
from services.s2mel_worker.prompts import Clocks, Prompts
from services.s2mel_worker.resume import first_code
from services.s2mel_worker.segment import Render, SegmentWindows
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.s2mel_worker.spec import stage_spec
from services.s2mel_worker.voice import encode_voice


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
        self.device = stage.device
        self._states: dict[Session, SegmentWindows] = {}
        self._prompts, self._clocks = Prompts(stage), Clocks(stage)

    @torch.inference_mode()
    def open(self, session: Session) -> None:
        self._check_voice(session)
        prompt = self._prompts.of(session)
        self._states[session] = SegmentWindows(session, prompt, bins=self._bins, max_codes=self._max_codes)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        return first_code(resume, session, bins=self._bins, max_codes=self._max_codes)

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
        return self._states[session].cancel(segment)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        if state is None or state.queue.current is None:
            return False
        if state.render is not None:
            return True
        state.enter()
        is_ready = state.codes.has_ended or state.next_window() is not None
        if not is_ready:
            # It waits for more of this segment: what it holds must not keep the caller from sending it.
            state.queue.use(state.codes.stop)
        return is_ready

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
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
        finished = [(session, _finish_render(self._states[session])) for session in done]
        return outputs + [(session, chunk) for session, chunk in finished if chunk is not None]

    def close(self, session: Session) -> None:
        self._states.pop(session, None)

    def free_memory(self) -> None:
        """Give up kept prompts, clocks and shapes; renders in work stay."""
        self._prompts.clear()
        self._clocks.clear()
        self._stepper.free_memory()

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        return encode_voice(self._stage, step, tensors)

    def warm_up(self) -> None:
        """Render a made-up voice: one window, or where shapes are captured the windows of every policy."""
        if self.batch_limit == 1:
            self._warm_up(self.spec.default_policy, num_codes=50, prompt_seconds=1.0)
            return
        for policy in self.spec.streaming_policies:
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

    def _begin(self, session: Session, state: SegmentWindows) -> Trajectory | Chunk | None:
        """The render to carry on; where there is none to do, the chunk that comes without."""
        if state.render is not None:
            return state.render.trajectory
        state.enter()
        window = state.next_window()
        if window is None or window.stop == window.start:
            # The segment ended without a code after the last border, or without any.
            return state.finish_without_frames()
        if not window.num_frames:
            # Spoken fast, a window of very few codes may own no frame.
            nothing = np.zeros((0, self._bins), np.float32)
            return state.settle(window, nothing, nothing)
        trajectory = self._trajectory(session, state, window)
        state.render = Render(window, trajectory)
        return trajectory

    def _trajectory(self, session: Session, state: SegmentWindows, window: Window) -> Trajectory:
        device, codes = self.device, state.codes
        first, stop = window.prefix_start, window.look_ahead_stop
        seen = torch.from_numpy(np.array(codes.items("codes", first, stop), np.int64)).to(device)
        latents = torch.from_numpy(np.array(codes.items("latents", first, stop))).to(device)
        clock, cfg_rate = self._clocks.of(session), session.params["cfg_rate"]
        if session.params["compat"]:
            noise = frame_noise(session.seed, codes.segment, 0, window.num_frames, self._bins).to(device)
            return start_whole(self._stage, seen, latents, state.prompt, noise, clock, cfg_rate, window.duration_factor)
        prefix = torch.from_numpy(state.prefix).to(device)
        job = WindowJob(window, seen, latents, prefix, state.prompt, session.seed, codes.segment)
        return start_window(self._stage, job, clock, cfg_rate)


def _finish_render(state: SegmentWindows) -> Chunk | None:
    assert state.render is not None
    window, mel = state.render.window, state.render.trajectory.mel.float().cpu().numpy()
    state.render = None
    return state.settle(window, mel[: window.num_frames], mel[window.num_frames :])


def load_engine(settings: S2MelWorkerSettings) -> S2MelEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: A file or tensor is missing, unknown or of another shape, or the device is not to be had, or
            has not the memory.
    """
    device = torch_runtime.prepare(settings)
    with torch_runtime.enough_memory("s2mel", device, "load", settings.memory_savers):
        return _load_engine(settings, device)


def _load_engine(settings: S2MelWorkerSettings, device: torch.device) -> S2MelEngine:
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    mode, limit_bytes = numeric_mode(settings.dtype), settings.gpu_memory_mb * MEBIBYTE
    stage = load_s2mel_stage(files, config, device, settings.voice_encoders)
    dtype = stage_dtype(mode, "s2mel")
    stage.serve(getattr(torch, dtype))
    taken = demand(stage, max_batch_size=settings.max_batch_size, limit_bytes=limit_bytes)
    spec = stage_spec(
        config,
        revision=revision(settings.model_dir, mode, config.triptych.policy_table()),
        slots=torch_runtime.fitting_slots(settings, device, stage="s2mel", demand=taken),
        device=torch_runtime.describe_device(device, dtype),
    )
    return S2MelEngine(stage, spec, _stepper(stage, limit_bytes))


def _stepper(stage: S2MelStageModel, limit_bytes: int) -> Stepper:
    if stage.device.type == "cpu":
        return OneByOne(stage.velocity)
    return Batched(stage.velocity, GraphCapture(stage.device), max_plan_bytes=max_plan_bytes(limit_bytes))
