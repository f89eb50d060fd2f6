"""Producers of the stages between codes and waveform, and of the voice's style, codes and mel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn

from bench.parity.pack import Array, Pack, Producer
from services.s2mel_worker.model.fbank import kaldi_fbank
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.mel import log_mel
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.windows import frames_of
from services.vocoder_worker.export.bigvgan import BigVgan, load_bigvgan


@lru_cache(maxsize=1)
def s2mel_stage(pack: Pack) -> S2MelStageModel:
    return load_s2mel_stage(pack.files, pack.config, "cpu")


@lru_cache(maxsize=1)
def vocoder(pack: Pack) -> BigVgan:
    return load_bigvgan(pack.files)


def tensors(pack: Pack, stage: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in pack.inputs(stage).items()}


@contextmanager
def outputs_of(**modules: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect what the named modules return last."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            seen[name] = output

        return module.register_forward_hook(hook)

    handles = [keep(name, module) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def mel(pack: Pack) -> dict[str, Array]:
    audio = tensors(pack, "mel")["audio_22k"][0]
    return {"out.ref_mel": log_mel(audio, pack.config.s2mel.preprocess_params).T[None].numpy()}


@torch.inference_mode()
def campplus(pack: Pack) -> dict[str, Array]:
    bank = kaldi_fbank(tensors(pack, "campplus")["audio_16k"][0])
    style = s2mel_stage(pack).campplus((bank - bank.mean(0))[None])
    return {"mid.fbank_head": bank[:200].numpy(), "out.style": style.numpy()}


@torch.inference_mode()
def codec(pack: Pack) -> dict[str, Array]:
    inputs, network = tensors(pack, "codec"), s2mel_stage(pack).codec
    with outputs_of(encoder=network.encoder, z_e=network.table.in_project) as seen:
        encoded = network.encode(inputs["emb"])
        codes, features = network.quantize(inputs["emb"])
    return {
        "mid.encoder_head": encoded[:, :200].numpy(),
        "mid.z_e": seen["z_e"].numpy(),
        "out.S_ref": features.numpy(),
        "out.codes": codes.numpy(),
        "out.vq2emb": network.vq2emb(inputs["codes"]).numpy(),
    }


@torch.inference_mode()
def s2mel(pack: Pack) -> dict[str, Array]:
    """Regulator, one estimator call on a shorter prompt, and the flow from the stored noise."""
    inputs, settings, stage = tensors(pack, "s2mel"), pack.settings, s2mel_stage(pack)
    codes, latents = inputs["codes"][0], inputs["latent"][0]
    prompt_mel, style = inputs["ref_mel"][0].T, inputs["style"]
    prompt_condition = stage.regulate_whole(inputs["S_ref"][0], len(prompt_mel))
    cond = stage.cond(codes, latents)
    noise = inputs["noise_gen"][0].T[: len(cond)]
    produced = {
        "mid.vq2emb": stage.codec.vq2emb(codes[None]),
        "out.gpt_layer": stage.gpt_layer(latents)[None],
        "mid.S_infer": stage.features(codes, latents)[None],
        "mid.target_len": torch.tensor([frames_of(len(codes))]),
        "out.prompt_condition": prompt_condition[None],
        "out.cond": cond[None],
    }
    kept = settings["dit_prompt_frames"]
    produced |= _estimator_calls(
        stage, prompt_mel[-kept:], prompt_condition[-kept:], cond, noise, style, settings["dit_t"]
    )
    for steps in (10, settings["cfm_steps"]):
        flowed = stage.flow(
            torch.cat((prompt_condition, cond)), prompt_mel, style[0], noise, steps, settings["cfg_rate"]
        )
        produced[f"out.mel_{steps}steps"] = flowed.T[None]
    return {name: value.numpy() for name, value in produced.items()}


def _estimator_calls(
    stage: S2MelStageModel,
    prompt_mel: Tensor,
    prompt_condition: Tensor,
    cond: Tensor,
    noise: Tensor,
    style: Tensor,
    time: float,
) -> dict[str, Tensor]:
    x = torch.cat((torch.zeros_like(prompt_mel), noise)).T[None]
    prompt = torch.cat((prompt_mel, torch.zeros_like(noise))).T[None]
    mu = torch.cat((prompt_condition, cond))[None]
    estimator, at = stage.cfm.estimator, torch.tensor([time])
    blocks = estimator.transformer.layers
    with outputs_of(block=blocks[0], transformer=estimator.transformer, wavenet=estimator.wavenet) as seen:
        conditioned = estimator(x, prompt, None, at, style, mu)
        inner = dict(seen)
    blank = (torch.zeros_like(part) for part in (prompt, style, mu))
    no_prompt, no_style, no_mu = blank
    return {
        "mid.dit_block0": inner["block"],
        "mid.dit_transformer": inner["transformer"],
        "mid.dit_wavenet": inner["wavenet"],
        "out.dit_cond": conditioned,
        "out.dit_uncond": estimator(x, no_prompt, None, at, no_style, no_mu),
    }


@torch.inference_mode()
def bigvgan(pack: Pack) -> dict[str, Array]:
    network = vocoder(pack)
    up = network.ups[0]
    assert isinstance(up, nn.ModuleList)
    with outputs_of(conv_pre=network.conv_pre, up=up[0], block=network.resblocks[0]) as seen:
        wave = network(tensors(pack, "bigvgan")["mel"])
    return {
        "mid.conv_pre": seen["conv_pre"].numpy(),
        "mid.ups0": seen["up"].numpy(),
        "mid.resblock0_head": seen["block"][..., :160].numpy(),
        "out.wav": wave[:, 0].numpy(),
    }


STAGES: dict[str, Producer] = {
    "mel": mel,
    "campplus": campplus,
    "codec": codec,
    "s2mel": s2mel,
    "bigvgan": bigvgan,
}
