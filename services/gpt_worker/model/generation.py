"""Decoding one segment to its end with one beam; the engine does the same a step at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.unified_voice import Positions, UnifiedVoice, code_position


@dataclass(frozen=True)
class Generation:
    codes: list[int]
    """Ends with the stop code unless the limit came first."""
    latents: Tensor  # (len(codes), D), captured while decoding
    logits: Tensor  # (len(codes), V), raw


def generate(
    model: UnifiedVoice,
    prefix: Tensor,
    options: SamplingOptions,
    *,
    positions: Positions,
    cache: KeyValueCache | None = None,
    seed: int = 0,
    segment: int = 0,
) -> Generation:
    """Decode from a prefix (1, P, D), greedily or sampled, in row 0 of `cache`."""
    dimensions = model.dimensions
    cache = cache or model.gpt.new_cache(1, prefix.shape[1] + options.max_codes)
    chooser = CodeChooser(
        options, vocabulary=dimensions.codes, start_code=dimensions.start_code, seed=seed, segment=segment
    )
    step = model.prefill(prefix, cache, row=0)
    steps, codes = [step], [chooser.choose(step.logits.detach().cpu().numpy())]
    while codes[-1] != dimensions.stop_code and len(codes) < options.max_codes:
        step = model.decode_step(codes[-1], code_position(len(codes), positions), cache, row=0)
        steps.append(step)
        codes.append(chooser.choose(step.logits.detach().cpu().numpy()))
    latents, logits = (torch.stack(rows) for rows in zip(*((s.latent, s.logits) for s in steps), strict=True))
    return Generation(codes, latents, logits)
