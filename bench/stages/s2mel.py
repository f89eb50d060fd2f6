"""The flow at full size: as published in plain PyTorch, and as the worker's engine runs it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from bench.stages.cpu_clock import SET_UP, Slice, Work
from bench.stages.networks import fill, made_up_mel, noise
from bench.stages.sessions import WHOLE, device_info, open_session, step_all
from bench.stages.workload import Sizes, Workload
from services.common.arrays import Tensors
from services.common.cuda_graphs import GraphCapture
from services.common.stage.engine import Engine
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk
from services.common.torch_engine import TorchEngine
from services.s2mel_worker.engine import S2MelEngine
from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.stepping import Batched, OneByOne, Stepper
from services.s2mel_worker.spec import stage_spec

_STYLE_WIDTH = 192


def make_stage(sizes: Sizes, device: str = "cpu") -> S2MelStageModel:
    with torch.device("meta"):
        model = S2MelStageModel(sizes.config)
    fill(model, device=device)
    return model


def in_mode(stage: S2MelStageModel, mode: str) -> S2MelStageModel:
    """The stage as a worker serves it in a numeric mode; the given one keeps the network that this is made from."""
    shared = {id(value): value for value in stage.state_dict(keep_vars=True).values()}
    other = deepcopy(stage, shared)
    other.serve(getattr(torch, mode))
    return other


def make_engine(stage: S2MelStageModel, sizes: Sizes, *, mode: str, slots: int = 1) -> Engine:
    """The engine of a stage that is in this mode."""
    device = device_info(stage.device.type, mode)
    spec = stage_spec(sizes.config, revision="bench", slots=slots, device=device)
    return TorchEngine(S2MelEngine(stage, spec, _stepper(stage)))


def _stepper(stage: S2MelStageModel) -> Stepper:
    if stage.device.type == "cuda":
        return Batched(stage.velocity, GraphCapture(stage.device))
    return OneByOne(stage.velocity)


def voice_of(sizes: Sizes, load: Workload) -> Tensors:
    """A made-up recording of the workload's length."""
    voice = _voice(sizes, load)
    return {
        "style": voice["style"].numpy(),
        "prompt_codes": voice["prompt_codes"].numpy().astype(np.int32),
        "prompt_condition": voice["prompt_condition"].numpy(),
        "prompt_mel": voice["prompt_mel"].numpy(),
    }


def code_chunk(sizes: Sizes, load: Workload) -> Chunk:
    """All codes of the workload at once."""
    codes, latents = _codes_and_latents(sizes, load)
    return Chunk(0, 0, {"codes": codes.numpy().astype(np.int32), "latents": latents.numpy()}, is_segment_end=True)


def _voice(sizes: Sizes, load: Workload) -> Voice:
    return Voice(
        style=noise(_STYLE_WIDTH),
        prompt_codes=torch.arange(load.prompt_codes) % sizes.config.semantic_codec.codebook_size,
        prompt_condition=noise(load.prompt_frames, sizes.config.s2mel.length_regulator.channels, scale=0.3),
        prompt_mel=made_up_mel(sizes, load.prompt_frames),
    )


def _codes_and_latents(sizes: Sizes, load: Workload) -> tuple[Tensor, Tensor]:
    codes = torch.arange(load.codes) * 7 % sizes.config.semantic_codec.codebook_size
    return codes, noise(load.codes, sizes.config.gpt.model_dim, scale=0.5)


@torch.inference_mode()
def plain(stage: S2MelStageModel, sizes: Sizes, load: Workload, num_steps: int) -> Work:
    """Whole segment in fp32: its condition, then `num_steps` of the steps, both halves of the guidance in a batch."""
    voice = _voice(sizes, load)
    codes, latents = _codes_and_latents(sizes, load)
    yield SET_UP
    mu = torch.cat((voice["prompt_condition"], stage.cond(codes, latents)))[None]  # (1, T, C)
    yield Slice("condition", 1)
    known, bins = voice["prompt_mel"].shape
    start = frame_noise(1, 0, 0, load.frames, bins)
    x = torch.cat((torch.zeros(known, bins), start)).T[None]  # (1, M, T)
    prompt = torch.cat((voice["prompt_mel"], torch.zeros_like(start))).T[None]
    both_prompts, both_mu, both_styles = (
        torch.cat((part, torch.zeros_like(part))) for part in (prompt, mu, voice["style"][None])
    )
    times = torch.linspace(0, 1, load.steps + 1)
    for time, step in list(zip(times[:-1], times.diff(), strict=True))[:num_steps]:
        velocity = stage.cfm.estimator(torch.cat((x, x)), both_prompts, None, time.expand(2), both_styles, both_mu)
        x = x + step * ((1 + load.cfg_rate) * velocity[:1] - load.cfg_rate * velocity[1:])
        x[:, :, :known] = 0
        yield Slice("flow", 1 / load.steps)


def served(
    engine: Engine, sizes: Sizes, load: Workload, num_steps: int, policy: Policy = WHOLE, *, guidance_interval: int = 1
) -> Work:
    """The engine on one utterance, with `num_steps` instead of the workload's; its condition counts as flow."""
    params = {"steps": num_steps, "cfg_rate": load.cfg_rate, "guidance_interval": guidance_interval}
    session = open_session(engine, voice_of(sizes, load), policy, params)
    engine.push(session, code_chunk(sizes, load))
    yield SET_UP
    frames = 0
    for chunks in step_all(engine, [session]):
        count = sum(chunk.length for chunk in chunks)
        frames += count
        yield Slice("flow", count / load.frames * num_steps / load.steps)
    engine.close(session)
    assert frames == load.frames
