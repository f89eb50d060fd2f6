"""Producers of the stages that need all networks: prompt, utterance, and the audio of text.

They start from the recordings. In a pack without the stage `prompt` they start from what it stores of
the voice as inputs of other stages, so that a pack can do without the networks of that chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from bench.parity.gpt_side import gpt_stage, read_audio
from bench.parity.pack import Array, Pack, Producer
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.loading import VOICE_RATE_HZ, VoiceConditions
from services.gpt_worker.model.logits import SamplingOptions
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.render import render_whole
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.windows import frames_of
from services.vocoder_worker.export.bigvgan import load_bigvgan


@dataclass(frozen=True)
class Prompt:
    """Everything kept of a voice."""

    spk_cond: Tensor  # (T, W)
    emo_cond: Tensor  # (T, W), by the emotion route
    s2mel: Voice
    conditions: VoiceConditions


@lru_cache(maxsize=1)
def s2mel_stage(pack: Pack) -> S2MelStageModel:
    return load_s2mel_stage(pack.files, pack.config, "cpu")


@lru_cache(maxsize=1)
def vocoder(pack: Pack) -> nn.Module:
    return load_bigvgan(pack.files)


@lru_cache(maxsize=1)
@torch.inference_mode()
def prompt_of(pack: Pack) -> Prompt:
    """The whole prompt chain from the wav file, or what the pack stores of it."""
    if "prompt" not in pack.stages:
        return stored_prompt(pack)
    stage, path = gpt_stage(pack), pack.directory / pack.settings["prompt_wav"]
    audio_22k = read_audio(path, VOICE_RATE_HZ)
    voice = stage.voice_features(audio_22k)
    s2mel = s2mel_stage(pack).prompt(audio_22k, voice["audio_16k"], voice["spk_cond"])
    emo_cond = stage.emotion_features(read_audio(path, 16000))
    conditions = stage.condition(voice["spk_cond"], emo_cond, s2mel["style"])
    return Prompt(voice["spk_cond"], emo_cond, s2mel, conditions)


def stored_prompt(pack: Pack) -> Prompt:
    """The voice from the inputs of `gpt_cond` and `s2mel` and the codes of `codec`."""

    def stored(stage: str, name: str) -> Tensor:
        return torch.from_numpy(pack.tensor(stage, name))[0]

    spk_cond, emo_cond = (stored("gpt_cond", f"in.{name}") for name in ("spk_cond_emb", "emo_cond_emb_of_prompt"))
    s2mel = Voice(
        style=stored("s2mel", "in.style"),
        prompt_codes=stored("codec", "out.codes"),
        prompt_condition=stored("s2mel", "out.prompt_condition"),
        prompt_mel=stored("s2mel", "in.ref_mel").T,
    )
    return Prompt(spk_cond, emo_cond, s2mel, gpt_stage(pack).condition(spk_cond, emo_cond, s2mel["style"]))


def other_recording(pack: Pack) -> Tensor:
    """Semantic embeddings (T, W) of the second recording, from the wav file or stored."""
    if "prompt" not in pack.stages:
        return torch.from_numpy(pack.tensor("gpt_cond", "in.emo_cond_emb"))[0]
    return gpt_stage(pack).emotion_features(read_audio(pack.directory / pack.settings["emo_wav"], 16000))


def prompt(pack: Pack) -> dict[str, Array]:
    found = prompt_of(pack)
    mel = found.s2mel["prompt_mel"]  # (T, 80)
    produced = {
        "out.emo_cond_emb_of_prompt": found.emo_cond,
        "out.prompt_condition": found.s2mel["prompt_condition"],
        "out.ref_mel_last_frame": mel[-1],
        "out.ref_mel_mean_per_bin": mel.mean(dim=0),
        "out.spk_cond_emb": found.spk_cond,
        "out.style": found.s2mel["style"],
    }
    return {name: value[None].numpy() for name, value in produced.items()}


@dataclass(frozen=True)
class Speech:
    """One segment, rendered as published."""

    codes: list[int]
    latents: Tensor  # (n, D)
    mel: Tensor  # (T, 80)
    wave: Tensor  # (256 T,)

    @property
    def pcm(self) -> Array:
        """int16 (N, 1), truncated toward zero."""
        scaled = (32767 * self.wave).clamp(-32767, 32767)
        return scaled.numpy().astype(np.int16)[:, None]


@torch.inference_mode()
def speak(pack: Pack, text_ids: list[int], emovec: Tensor, noise: Tensor) -> Speech:
    """Greedy codes at the published positions, second pass, flow, vocoder.

    Args:
        pack: supplies the checkpoint and the settings.
        text_ids: without start and stop.
        emovec: (D,).
        noise: (at least the generated frames, 80).
    """
    settings, found, stage = pack.settings, prompt_of(pack), gpt_stage(pack)
    conds = stage.conditioning(found.conditions, emovec)
    options = SamplingOptions(
        do_sample=False,
        repetition_penalty=settings["repetition_penalty"],
        max_codes=settings["gen_codes"],
    )
    prefix = stage.voice.embed_prefix(conds, stage.voice.frame_text(text_ids))
    codes = generate(stage.voice, prefix, options, positions="compat").codes
    spoken = [code for code in codes if code != stage.voice.dimensions.stop_code]
    latents = stage.voice.second_pass(conds, text_ids, spoken)
    mel = render_whole(
        s2mel_stage(pack),
        torch.tensor(spoken),
        latents,
        found.s2mel,
        noise[: frames_of(len(spoken))],
        num_steps=settings["cfm_steps"],
        cfg_rate=settings["cfg_rate"],
    )
    wave = vocoder(pack)(mel.T[None]).flatten()
    return Speech(codes, latents, mel, wave)


def utterance(pack: Pack) -> dict[str, Array]:
    """The four runs of the pack: own emotion, a second recording, a vector, a scaled vector."""
    inputs, settings, stage = pack.inputs("utterance"), pack.settings, gpt_stage(pack)
    text_ids, noise = inputs["text_ids"][0].tolist(), torch.from_numpy(inputs["noise_gen"])[0].T
    conditions = prompt_of(pack).conditions
    other = stage.recording_emovec(other_recording(pack))
    weights, alpha = settings["emo_vector"], settings["emo_vector_alpha"]
    emovecs = {
        "": stage.emotion_vector(conditions),
        "_emo07": stage.emotion_vector(conditions, recording=other, alpha=settings["emo_alpha"]),
        "_vec": stage.emotion_vector(conditions, weights=weights),
        "_vec_scaled": stage.emotion_vector(conditions, weights=weights, alpha=alpha),
    }
    produced: dict[str, Array] = {}
    for suffix, emovec in emovecs.items():
        speech = speak(pack, text_ids, emovec, noise)
        produced[f"mid.emovec{suffix}"] = emovec[None].numpy()
        produced[f"mid.latent{suffix}"] = speech.latents[None].numpy()
        produced[f"mid.mel{suffix}"] = speech.mel.T[None].numpy()
        produced[f"mid.wav{suffix}"] = speech.wave[None].numpy()
        produced[f"out.codes{suffix}"] = np.array([speech.codes])
        produced[f"out.pcm{suffix}"] = speech.pcm
    return produced


def text(pack: Pack) -> dict[str, Array]:
    """Audio of the segments; their ids are produced by the text side."""
    emovec = gpt_stage(pack).emotion_vector(prompt_of(pack).conditions)
    produced: dict[str, Array] = {}
    waves: list[Array] = []
    for name, noise in sorted(pack.inputs("text").items()):
        suffix = name.removeprefix("noise_gen")
        ids = pack.tensor("text", f"out.text_ids{suffix}")[0].tolist()
        speech = speak(pack, ids, emovec, torch.from_numpy(noise)[0].T)
        produced[f"out.codes{suffix}"] = np.array([speech.codes])
        produced[f"mid.mel{suffix}"] = speech.mel.T[None].numpy()
        waves.append(speech.pcm)
    silence = np.zeros((VOICE_RATE_HZ * pack.settings["interval_silence_ms"] // 1000, 1), np.int16)
    joined = [part for wave in waves for part in (wave, silence)][:-1]
    produced["mid.segment_samples"] = np.array([len(wave) for wave in waves])
    produced["out.pcm"] = np.concatenate(joined)
    return produced


STAGES: dict[str, Producer] = {"prompt": prompt, "utterance": utterance, "text": text}
