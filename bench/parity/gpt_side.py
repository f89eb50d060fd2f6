"""Producers of the stages before S2Mel: audio, features, w2v, gpt_cond, gpt."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from bench.parity.pack import Array, Pack, Producer
from services.gpt_worker.model import emotion
from services.gpt_worker.model.beam_search import beam_search
from services.gpt_worker.model.features import semantic_features
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.loading import PROMPT_SECONDS, VOICE_RATE_HZ, GptStageModel, load_gpt_stage
from services.gpt_worker.model.logits import SamplingOptions, penalise_repetition, warp
from services.gpt_worker.model.resampling import resample
from services.gpt_worker.model.unified_voice import Positions, code_position

_REMOVED = np.float32(-1e30)
_TAIL_SAMPLES = 16000


@lru_cache(maxsize=1)
def gpt_stage(pack: Pack) -> GptStageModel:
    """The pack's GPT stage; kept because several producers use it."""
    return load_gpt_stage(pack.files, pack.config, "cpu")


def read_audio(path: Path, rate_hz: int) -> Tensor:
    """Decode to mono float32 (N,) at `rate_hz`, cut to the prompt's limit."""
    samples, source_hz = soundfile.read(path, dtype="float32", always_2d=True)
    audio = soxr.resample(samples.mean(axis=1), source_hz, rate_hz, quality="soxr_hq")
    # soxr rounds the length, the reference rounds it up.
    divisor = gcd(source_hz, rate_hz)
    length = -(-len(samples) * (rate_hz // divisor) // (source_hz // divisor))
    audio = np.pad(audio, (0, max(0, length - len(audio))))[:length]
    return torch.from_numpy(audio[: int(PROMPT_SECONDS * rate_hz)])


def audio(pack: Pack) -> dict[str, Array]:
    prompt, other = pack.directory / pack.settings["prompt_wav"], pack.directory / pack.settings["emo_wav"]
    audio_22k = read_audio(prompt, VOICE_RATE_HZ)
    by_emotion_route, emotion_16k = read_audio(prompt, 16000), read_audio(other, 16000)
    return {
        "out.audio_22k": audio_22k[None].numpy(),
        "out.audio_16k": resample(audio_22k, VOICE_RATE_HZ, 16000)[None].numpy(),
        "out.emo_audio_16k": emotion_16k[None].numpy(),
        "out.prompt_audio_16k_emo_route_tail": by_emotion_route[None, -_TAIL_SAMPLES:].numpy(),
        "out.sample_counts": np.array([len(audio_22k), len(by_emotion_route), len(emotion_16k)]),
    }


def features(pack: Pack) -> dict[str, Array]:
    produced: dict[str, Array] = {}
    for name, samples in pack.inputs("features").items():
        suffix = name.removeprefix("audio_16k")
        rows, mask = semantic_features(samples[0])
        produced[f"out.input_features{suffix}"] = rows[None]
        produced[f"out.attention_mask{suffix}"] = mask[None]
    return produced


@torch.inference_mode()
def w2v(pack: Pack) -> dict[str, Array]:
    encoder, inputs = gpt_stage(pack).encoder, pack.inputs("w2v")
    produced: dict[str, Array] = {}
    for suffix in ("", "_odd", "_emo"):
        rows = torch.from_numpy(inputs[f"input_features{suffix}"])
        mask = torch.from_numpy(inputs[f"attention_mask{suffix}"])
        states = encoder.hidden_states(rows, mask)
        produced[f"out.emb{suffix}"] = encoder.normalise(states[-1]).numpy()
        produced[f"mid.feature_projection{suffix}"] = states[0].numpy()
        produced[f"mid.layer1{suffix}"] = states[1].numpy()
        produced[f"mid.hidden{suffix}"] = states[-1].numpy()
    return produced


@torch.inference_mode()
def gpt_cond(pack: Pack) -> dict[str, Array]:
    stage, settings = gpt_stage(pack), pack.settings
    inputs = {name: torch.from_numpy(value)[0] for name, value in pack.inputs("gpt_cond").items()}
    conditions = stage.condition(inputs["spk_cond_emb"], inputs["emo_cond_emb_of_prompt"], inputs["style"])
    other = stage.recording_emovec(inputs["emo_cond_emb"])
    weights, alpha = settings["emo_vector"], settings["emo_vector_alpha"]
    emotion_frames = stage.voice.emo_conditioning_encoder(inputs["emo_cond_emb"][None])
    mixed = {
        "mid.emovec_mat": emotion.weighted_rows(conditions.emotion_rows, weights),
        "mid.emovec_mat_scaled": emotion.weighted_rows(conditions.emotion_rows, emotion.scale_weights(weights, alpha)),
        "out.emovec_alpha07": stage.emotion_vector(conditions, recording=other, alpha=settings["emo_alpha"]),
        "out.emovec_default": stage.emotion_vector(conditions),
        "out.emovec_emo": other,
        "out.emovec_spk": conditions.speaker_emovec,
        "out.emovec_vector": stage.emotion_vector(conditions, weights=weights),
        "out.emovec_vector_scaled": stage.emotion_vector(conditions, weights=weights, alpha=alpha),
        "out.spk_latents": conditions.speaker_latents,
    }
    return {
        **{name: value[None].numpy() for name, value in mixed.items()},
        "mid.spk_conformer": stage.voice.conditioning_encoder(inputs["spk_cond_emb"][None]).numpy(),
        "mid.emo_conformer": emotion_frames.numpy(),
        "mid.emo_perceiver": stage.voice.emo_perceiver_encoder(emotion_frames)[:, 0].numpy(),
        "out.emo_row_index": np.array(stage.row_indices(inputs["style"])),
    }


@torch.inference_mode()
def gpt(pack: Pack) -> dict[str, Array]:
    inputs = {name: torch.from_numpy(value) for name, value in pack.inputs("gpt").items()}
    voice, text_ids = gpt_stage(pack).voice, inputs["text_ids"][0].tolist()
    conds = voice.conditioning(voice.speaker_latents(inputs["spk_cond_emb"]), inputs["emovec"])
    prefix = voice.embed_prefix(conds, voice.frame_text(text_ids))
    codes = inputs["teacher_codes"][0].tolist()
    cache = voice.gpt.new_cache(1, prefix.shape[1])
    return {
        "mid.conds34": conds.numpy(),
        "out.prefill_embeds": prefix.numpy(),
        "mid.prefill_hidden_last_ln_f": voice.gpt.extend(prefix[0], cache, 0)[None, -1:].numpy(),
        "out.latent": voice.second_pass(conds, text_ids, codes)[None].numpy(),
        **_replays(pack, prefix, codes),
        **_searches(pack, prefix),
        **_processors(pack, inputs["proc_logits"], inputs["proc_ids"]),
    }


def _replays(pack: Pack, prefix: Tensor, codes: list[int]) -> dict[str, Array]:
    """Teacher-forced decodes a step at a time, at both kinds of positions."""
    published, _ = replay(pack, prefix, codes, "compat")
    contiguous, latents = replay(pack, prefix, codes, "fast")
    return {
        "out.teacher_logits_hf_positions": published,
        "out.teacher_logits_contiguous": contiguous,
        "out.contiguous_decode_hidden": latents[:, : len(codes)],
    }


def replay(pack: Pack, prefix: Tensor, codes: list[int], positions: Positions) -> tuple[Array, Array]:
    """Feed known codes to the decode: logits (1, n + 1, V) and latents (1, n + 1, D)."""
    voice = gpt_stage(pack).voice
    cache = voice.gpt.new_cache(1, prefix.shape[1] + len(codes))
    steps = [voice.prefill(prefix, cache, 0)]
    for index, code in enumerate(codes, start=1):
        steps.append(voice.decode_step(code, code_position(index, positions), cache, 0))
    logits = torch.stack([step.logits for step in steps])
    return logits[None].numpy(), torch.stack([step.latent for step in steps])[None].numpy()


def _searches(pack: Pack, prefix: Tensor) -> dict[str, Array]:
    """Greedy and beam decodes to the end."""
    voice, limit = gpt_stage(pack).voice, pack.settings["gen_codes"]
    produced: dict[str, Array] = {}
    for penalty in (1, 10):
        greedy = SamplingOptions(do_sample=False, repetition_penalty=penalty, max_codes=limit)
        beams = SamplingOptions(do_sample=False, repetition_penalty=penalty, max_codes=limit, num_beams=3)
        run = generate(voice, prefix, greedy, positions="compat")
        produced[f"out.greedy_codes_rp{penalty}"] = np.array([run.codes])
        produced[f"out.beam3_codes_rp{penalty}"] = np.array([beam_search(voice, prefix, beams)])
    produced["out.greedy_hidden"] = run.latents[None].numpy()
    produced["out.greedy_raw_logits"] = run.logits[None].numpy()
    contiguous = generate(voice, prefix, greedy, positions="fast")
    produced["out.greedy_codes_contiguous_rp10"] = np.array([contiguous.codes])
    return produced


def _processors(pack: Pack, logits: Tensor, history: Tensor) -> dict[str, Array]:
    settings = pack.settings["proc"]
    options = SamplingOptions(**settings)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, history, True)
    produced: dict[str, Array] = {}
    for beams, scores, min_keep in ((1, logits, 1), (3, logits.log_softmax(dim=-1), 2)):
        processed = warp(penalise_repetition(scores, seen, options.repetition_penalty), options, min_keep)
        values: Array = processed.numpy()
        produced[f"out.proc_scores_beams{beams}"] = np.where(np.isfinite(values), values, _REMOVED)
        produced[f"out.proc_kept_beams{beams}"] = np.isfinite(values).astype(np.uint8)
    return produced


STAGES: dict[str, Producer] = {
    "audio": audio,
    "features": features,
    "w2v": w2v,
    "gpt_cond": gpt_cond,
    "gpt": gpt,
}
