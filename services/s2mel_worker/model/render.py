"""From codes to mel: what a window of a stream, or a whole segment, is rendered from (design §6).

Nothing here knows which window comes next or whose it is. Letters: T frames, M mel bins, C condition width,
N codes, L latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.length_regulator import streaming_map
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.s2mel_worker.model.windows import Window


@dataclass(frozen=True)
class Prompt:
    """What a render sees of a voice."""

    style: Tensor
    """(192,)"""
    condition: Tensor
    """(Tp, C)"""
    mel: Tensor
    """(Tp, M)"""

    @property
    def num_bytes(self) -> int:
        return self.style.nbytes + self.condition.nbytes + self.mel.nbytes


@dataclass(frozen=True)
class WindowJob:
    """One window to render; codes and latents run from its prefix to the end of its look-ahead."""

    window: Window
    codes: Tensor
    """(N,) int64"""
    latents: Tensor
    """(N, L)"""
    prefix_mel: Tensor
    """(window.prefix_frames, M) as rendered before"""
    prompt: Prompt
    seed: int
    segment: int


def whole_prompt(voice: Voice) -> Prompt:
    """All of a voice, as published renders see it."""
    return Prompt(voice["style"], voice["prompt_condition"], voice["prompt_mel"])


def cut_prompt(model: S2MelStageModel, voice: Voice, seconds: float) -> Prompt:
    """The first `seconds` of a voice; the condition of a shorter prompt is made from its own codes."""
    mel, codes = voice["prompt_mel"], voice["prompt_codes"]
    audio = model.config.s2mel.preprocess_params
    num_frames = max(1, int(seconds * audio.sr / audio.spect_params.hop_length))
    if num_frames >= len(mel):
        return whole_prompt(voice)
    num_codes = max(1, num_frames * len(codes) // len(mel))
    features = model.codec.vq2emb(codes[None, :num_codes])[0]
    return Prompt(voice["style"], model.regulate_whole(features, num_frames), mel[:num_frames].clone())


def start_window(model: S2MelStageModel, job: WindowJob, clock: Clock, cfg_rate: float) -> Trajectory:
    """Everything of a window's render that comes before its first step.

    The trajectory's frames are the window's new ones and its look-ahead.

    Raises:
        ValueError: if the job's tensors do not fit its window, or it adds no frame.
    """
    _check(job)
    window, prompt = job.window, job.prompt
    index = streaming_map(window.prefix_start, len(job.codes), window.duration_factor)
    mu = model.regulate(model.features(job.codes, job.latents), index)
    return model.trajectory(
        clock,
        torch.cat((prompt.condition, mu)),
        torch.cat((prompt.mel, job.prefix_mel)),
        prompt.style,
        _noise(job, len(mu)).to(mu.device),
        cfg_rate,
    )


def start_whole(
    model: S2MelStageModel,
    codes: Tensor,
    latents: Tensor,
    prompt: Prompt,
    noise: Tensor,
    clock: Clock,
    cfg_rate: float,
    duration_factor: float = 1.0,
) -> Trajectory:
    """Begin a whole segment as published: codes (N,), latents (N, L), noise (T, M)."""
    condition = torch.cat((prompt.condition, model.cond(codes, latents, duration_factor)))
    return model.trajectory(clock, condition, prompt.mel, prompt.style, noise, cfg_rate)


def render_whole(
    model: S2MelStageModel,
    codes: Tensor,
    latents: Tensor,
    voice: Voice,
    noise: Tensor,
    *,
    num_steps: int,
    cfg_rate: float,
    duration_factor: float = 1.0,
) -> Tensor:
    """Render a whole segment as published: codes (N,), latents (N, L), noise (T, M) to mel (T, M)."""
    condition = torch.cat((voice["prompt_condition"], model.cond(codes, latents, duration_factor)))
    return model.flow(condition, voice["prompt_mel"], voice["style"], noise, num_steps, cfg_rate)


def _noise(job: WindowJob, num_conditions: int) -> Tensor:
    """Start of the frames behind the prefix: new ones and look-ahead."""
    num_frames, num_bins = num_conditions - job.window.prefix_frames, job.prompt.mel.shape[1]
    return frame_noise(job.seed, job.segment, job.window.first_frame, num_frames, num_bins)


def _check(job: WindowJob) -> None:
    window = job.window
    if not window.num_frames:
        raise ValueError(f"{window} adds no frame")
    num_codes = window.look_ahead_stop - window.prefix_start
    if len(job.codes) != num_codes or len(job.latents) != num_codes:
        raise ValueError(f"{window} needs {num_codes} codes and latents, got {len(job.codes)} and {len(job.latents)}")
    if len(job.prefix_mel) != window.prefix_frames:
        raise ValueError(f"{window} needs {window.prefix_frames} prefix frames, got {len(job.prefix_mel)}")
