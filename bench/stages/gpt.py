"""The GPT at full size: as published in plain PyTorch, and as the worker's engine runs it."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import asdict, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bench.stages.cpu_clock import SET_UP, Slice, Work
from bench.stages.networks import fill, noise
from bench.stages.sessions import device_info, open_session, step_all
from bench.stages.workload import Sizes, Workload
from services.common.arrays import Array, Tensors
from services.common.stage.engine import Engine
from services.common.stage.session import Chunk, Session
from services.common.torch_engine import TorchEngine
from services.gpt_worker.engine import GptEngine
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.loading import GptStageModel, VoiceConditions
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.semantic import SemanticEncoder
from services.gpt_worker.model.transformer import Block
from services.gpt_worker.model.unified_voice import UnifiedVoice, code_position
from services.gpt_worker.spec import stage_spec

_NEVER = -1e9
_STYLE_WIDTH = 192
_CODES_PER_SLICE = 5
_PREFIX_CACHE_BYTES = 64 * 2**20

_UNUSED = ("conditioning_encoder", "perceiver_encoder", "emo_conditioning_encoder", "emo_perceiver_encoder")
"""Parts that only a new voice needs: 336 M parameters, left without memory."""


def make_stage(sizes: Sizes, device: str = "cpu") -> GptStageModel:
    """The GPT without its conditioners; it never says that a segment has ended."""
    with torch.device("meta"):
        voice = UnifiedVoice(GptDimensions.from_config(sizes.config))
    for name, part in voice.named_children():
        if name not in _UNUSED:
            fill(part, f"{name}.", device)
    voice.eval().requires_grad_(requires_grad=False)
    voice.mel_head.bias[voice.dimensions.stop_code] = _NEVER
    rows = sum(sizes.config.emo_num)
    speakers = torch.zeros(rows, _STYLE_WIDTH, device=device)
    emotions = torch.zeros(rows, sizes.config.gpt.model_dim, device=device)
    return GptStageModel(voice, cast("SemanticEncoder", None), speakers, emotions, sizes.config.emo_num)


def in_mode(stage: GptStageModel, mode: str) -> GptStageModel:
    """The stage in a numeric mode; the given one stays float32, and what is not converted is shared."""
    if mode == "float32":
        return stage
    shared = {id(value): value for value in stage.voice.state_dict(keep_vars=True).values()}
    other = copy(stage)
    other.voice = deepcopy(stage.voice, shared)
    other.voice.gpt.convert(mode)
    return other


def make_engine(stage: GptStageModel, sizes: Sizes, *, mode: str, slots: int = 1) -> Engine:
    """The engine of a stage that is in this mode."""
    device = device_info(stage.device.type, mode)
    spec = stage_spec(sizes.config, stage.voice.dimensions, revision="bench", slots=slots, device=device)
    return TorchEngine(GptEngine(stage, spec, prefix_cache_bytes=_PREFIX_CACHE_BYTES))


def voice_of(sizes: Sizes) -> Tensors:
    """A made-up voice."""
    return {name: value.numpy() for name, value in asdict(_conditions(sizes)).items()}


def text_ids(sizes: Sizes, load: Workload) -> list[int]:
    return [2 + i % (sizes.config.gpt.number_text_tokens - 2) for i in range(load.text_ids)]


def _conditions(sizes: Sizes) -> VoiceConditions:
    gpt = GptDimensions.from_config(sizes.config)
    shapes = ((gpt.speaker.perceiver.latents, gpt.width), (gpt.width,), (gpt.width,), (8, gpt.width))
    return VoiceConditions(*(noise(*shape, scale=0.1) for shape in shapes))


class _PlainTrunk:
    """The blocks with keys and values of one utterance in plain tensors, as any first implementation has them."""

    def __init__(self, model: UnifiedVoice, max_length: int) -> None:
        self._model = model
        sizes = model.dimensions
        shape = (sizes.layers, 2, 1, sizes.heads, max_length, sizes.width // sizes.heads)
        self._past = torch.zeros(shape)
        self._length = 0

    def __call__(self, x: Tensor) -> Array:
        """Append embedded positions (1, t, D); the scores (V,) behind the last."""
        start, stop = self._length, self._length + x.shape[1]
        mask = torch.arange(stop) <= torch.arange(start, stop)[:, None] if start else None
        for block, past in zip(self._model.gpt.h, self._past, strict=True):
            assert isinstance(block, Block)
            query, past[0, :, :, start:stop], past[1, :, :, start:stop] = block.project(x)
            x = block.mix(x, query, past[0, :, :, :stop], past[1, :, :, :stop], mask)
        self._length = stop
        scores: Tensor = self._model.mel_head(self._model.final_norm(self._model.gpt.ln_f(x[0, -1])))
        return scores.numpy()


@torch.inference_mode()
def plain(stage: GptStageModel, sizes: Sizes, load: Workload, num_codes: int) -> Work:
    """Published positions in fp32: prefill, `num_codes` of the codes, second pass over all of them."""
    model, dimensions = stage.voice, stage.voice.dimensions
    conditions, ids = _conditions(sizes), text_ids(sizes, load)
    conds = stage.conditioning(conditions, stage.emotion_vector(conditions))
    prefix = model.embed_prefix(conds, model.frame_text(ids))
    trunk = _PlainTrunk(model, prefix.shape[1] + load.codes)
    chooser = CodeChooser(
        SamplingOptions(), vocabulary=dimensions.codes, start_code=dimensions.start_code, seed=1, segment=0
    )
    yield SET_UP
    codes = [chooser.choose(trunk(prefix))]
    yield Slice("prefill", 1)
    for count in range(1, num_codes):
        embedded = model.embed_codes(torch.tensor([codes[-1:]]), code_position(count, "compat"))
        codes.append(chooser.choose(trunk(embedded)))
        if count % _CODES_PER_SLICE == 0 or count == num_codes - 1:
            yield Slice("decode", ((count - 1) % _CODES_PER_SLICE + 1) / (load.codes - 1))
    model.second_pass(conds, ids, (codes * load.codes)[: load.codes])
    yield Slice("second pass", 1)


def open_on(engine: Engine, sizes: Sizes, load: Workload, num_codes: int) -> Session:
    """A session of the one voice there is, its text pushed, its codes to come one by one."""
    policy = replace(engine.spec.default_policy, codes_per_chunk=1)
    session = open_session(engine, voice_of(sizes), policy, {"max_codes": num_codes}, voice_hash="bench")
    engine.push(session, Chunk(0, 0, {"ids": np.array(text_ids(sizes, load), np.int32)}, is_segment_end=True))
    return session


def meet_voice(engine: Engine, sizes: Sizes, load: Workload) -> None:
    """Speak one code, so that the voice's conditioning is cached as it is for every voice that was used before."""
    session = open_on(engine, sizes, load, 1)
    for _ in step_all(engine, [session]):
        pass
    engine.close(session)


def served(engine: Engine, sizes: Sizes, load: Workload, num_codes: int) -> Work:
    """The engine on one utterance: the prefill with the first code, then the other codes one by one."""
    meet_voice(engine, sizes, load)
    session = open_on(engine, sizes, load, num_codes)
    yield SET_UP
    has_begun, waiting = False, 0
    for chunks in step_all(engine, [session]):
        count = sum(chunk.length for chunk in chunks)
        if count and not has_begun:
            has_begun, count = True, count - 1
            yield Slice("prefill", 1)
        waiting += count
        if waiting >= _CODES_PER_SLICE:
            yield Slice("decode", waiting / (load.codes - 1))
            waiting = 0
    engine.close(session)
    yield Slice("decode", waiting / (load.codes - 1))
