"""Windows and whole segments: what a render may see, and what it must not depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from services.common.stage.policy import Policy
from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.render import (
    Prompt,
    WindowJob,
    cut_prompt,
    render_whole,
    start_whole,
    start_window,
    whole_prompt,
)
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.stepping import OneByOne
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.s2mel_worker.model.windows import Window, all_windows, frames_of

POLICY = Policy(first_window_codes=6, max_window_codes=12, look_ahead_codes=5, prefix_codes=4)


def spoken(num_codes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(32, (num_codes,), generator=generator)
    return codes, torch.randn(num_codes, 14, generator=generator)


def job_of(window: Window, codes: Tensor, latents: Tensor, mel: Tensor, prompt: Prompt) -> WindowJob:
    """A window of a stream whose first frames `mel` are rendered."""
    seen = slice(window.prefix_start, window.look_ahead_stop)
    prefix = mel[frames_of(window.prefix_start) : window.first_frame]
    return WindowJob(window, codes[seen], latents[seen], prefix, prompt, seed=9, segment=1)


def finished(stage: S2MelStageModel, render: Trajectory) -> Tensor:
    stepper = OneByOne(stage.velocity)
    while not render.is_done:
        stepper.advance([render])
    return render.mel


def rendered(stage: S2MelStageModel, job: WindowJob) -> Tensor:
    """The new frames of a window."""
    clock = Clock.of(stage.velocity, Solver(2))
    return finished(stage, start_window(stage, job, clock, 0.7))[: job.window.num_frames]


def stream(stage: S2MelStageModel, codes: Tensor, latents: Tensor, prompt: Prompt) -> tuple[Tensor, list[WindowJob]]:
    mel, jobs = torch.zeros(0, 80), []
    for window in all_windows(POLICY, len(codes)):
        jobs.append(job_of(window, codes, latents, mel, prompt))
        mel = torch.cat((mel, rendered(stage, jobs[-1])))
    return mel, jobs


@pytest.fixture(scope="module")
def prompt(stage: S2MelStageModel, voice: Voice) -> Prompt:
    return cut_prompt(stage, voice, 0.5)


def test_windows_add_up_to_the_segment(stage: S2MelStageModel, prompt: Prompt) -> None:
    mel, jobs = stream(stage, *spoken(40), prompt)
    assert mel.shape == (frames_of(40), 80)
    assert mel.isfinite().all()
    assert mel.std() > 1e-3
    assert len(jobs) == 4


def test_one_window_covers_a_segment_that_fits(stage: S2MelStageModel, prompt: Prompt) -> None:
    codes, latents = spoken(10)
    (window,) = all_windows(POLICY, 10)
    mel = rendered(stage, job_of(window, codes, latents, torch.zeros(0, 80), prompt))
    assert torch.equal(mel, stream(stage, codes, latents, prompt)[0])


def test_codes_behind_the_look_ahead_do_not_matter(stage: S2MelStageModel, prompt: Prompt) -> None:
    codes, latents = spoken(40)
    first = all_windows(POLICY, 40)[0]
    changed = codes.clone()
    changed[first.look_ahead_stop :] = 0
    mel, _ = stream(stage, codes, latents, prompt)
    other, _ = stream(stage, changed, latents, prompt)
    assert torch.equal(mel[: first.num_frames], other[: first.num_frames])
    assert not torch.equal(mel, other)


@pytest.mark.parametrize("part", ["codes", "latents", "prefix_mel", "style", "mel", "condition", "seed", "segment"])
def test_everything_a_window_is_given_is_heard(stage: S2MelStageModel, prompt: Prompt, part: str) -> None:
    _, jobs = stream(stage, *spoken(40), prompt)
    job = jobs[1]
    changed: WindowJob
    if part == "seed":
        changed = replace(job, seed=77)
    elif part == "segment":
        changed = replace(job, segment=77)
    elif part in ("style", "mel", "condition"):
        changed = replace(job, prompt=replace(prompt, **{part: getattr(prompt, part) + 0.5}))
    elif part == "codes":
        changed = replace(job, codes=(job.codes + 1) % 32)
    else:
        changed = replace(job, **{part: getattr(job, part) + 0.5})
    before, after = rendered(stage, job), rendered(stage, changed)
    assert (before - after).abs().max() > 1e-3


def test_a_long_prompt_is_cut_with_its_codes(stage: S2MelStageModel, voice: Voice) -> None:
    prompt = cut_prompt(stage, voice, 0.5)
    frames = int(0.5 * (22050 / 256))
    assert prompt.mel.shape == (frames, 80)
    assert torch.equal(prompt.mel, voice["prompt_mel"][:frames])
    # Half a second of codes, regulated on their own: not a slice of the whole prompt's condition.
    features = stage.codec.vq2emb(voice["prompt_codes"][None, :25])[0]
    assert torch.equal(prompt.condition, stage.regulate_whole(features, frames))
    assert not torch.allclose(prompt.condition, voice["prompt_condition"][:frames], atol=1e-3)


def test_a_short_prompt_is_kept(stage: S2MelStageModel, voice: Voice) -> None:
    prompt = cut_prompt(stage, voice, 15)
    assert prompt.mel is voice["prompt_mel"]
    assert prompt.condition is voice["prompt_condition"]


def test_a_whole_segment_has_the_published_length(stage: S2MelStageModel, voice: Voice) -> None:
    codes, latents = spoken(26)
    noise = frame_noise(9, 1, 0, frames_of(26))
    mel = render_whole(stage, codes, latents, voice, noise, num_steps=2, cfg_rate=0.7)
    assert mel.shape == (44, 80)
    condition = torch.cat((voice["prompt_condition"], stage.cond(codes, latents)))
    direct = stage.flow(condition, voice["prompt_mel"], voice["style"], noise, 2, 0.7)
    assert torch.equal(mel, direct)
    steps = start_whole(stage, codes, latents, whole_prompt(voice), noise, Clock.of(stage.velocity, Solver(2)), 0.7)
    assert torch.equal(finished(stage, steps), mel)


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_a_whole_segment_is_stretched_by_the_factor(stage: S2MelStageModel, voice: Voice, factor: float) -> None:
    codes, latents = spoken(26)
    frames = frames_of(26, factor)
    noise = frame_noise(9, 1, 0, frames)
    mel = render_whole(stage, codes, latents, voice, noise, num_steps=2, cfg_rate=0.7, duration_factor=factor)
    assert mel.shape == (frames, 80)
    condition = stage.regulate_whole(stage.features(codes, latents), frames)
    direct = stage.flow(
        torch.cat((voice["prompt_condition"], condition)), voice["prompt_mel"], voice["style"], noise, 2, 0.7
    )
    assert torch.equal(mel, direct)


def test_a_window_without_frames_is_refused(stage: S2MelStageModel, prompt: Prompt) -> None:
    codes, latents = spoken(1)
    window = Window(0, 1, 0, 1, is_last=True, duration_factor=0.5)
    job = WindowJob(window, codes, latents, torch.zeros(0, 80), prompt, seed=9, segment=1)
    with pytest.raises(ValueError, match="adds no frame"):
        rendered(stage, job)


def test_tensors_that_do_not_fit_the_window_are_refused(stage: S2MelStageModel, prompt: Prompt) -> None:
    codes, latents = spoken(40)
    _, jobs = stream(stage, codes, latents, prompt)
    with pytest.raises(ValueError, match="needs 21 codes"):
        rendered(stage, replace(jobs[1], codes=codes))
    with pytest.raises(ValueError, match="prefix frames"):
        rendered(stage, replace(jobs[1], prefix_mel=torch.zeros(3, 80)))
