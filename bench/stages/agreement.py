"""How well a fast numeric mode agrees with float32, on the embedded checkpoint's own sentences.

Codes: greedy decodes in float32 are forced on both modes, and each says which code it would have chosen next.
Mel: both modes render those codes whole, from the same noise in the same steps; the fast one also keeps its guidance
for some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.quality.material import read_sentences
from bench.quality.stages import StageRun, Stages, recordings, voice_features
from bench.stages.sessions import WHOLE
from bench.stages.workload import Modes, Workload
from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config
from services.common.devices import numeric_mode
from services.common.stage.engine import Engine
from services.common.stage.session import Chunk
from services.common.torch_engine import TorchEngine
from services.frontend.text.frontend import build_frontend
from services.gpt_worker import loading as gpt_loading
from services.gpt_worker.model.decoding import NextCode, new_decoder
from services.gpt_worker.model.loading import VoiceConditions, load_gpt_stage
from services.gpt_worker.model.unified_voice import UnifiedVoice, code_position
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker import engine as s2mel_engine
from services.s2mel_worker.settings import S2MelWorkerSettings

_SENTENCES = 10
_MAX_CODES = 250


@dataclass(frozen=True)
class Agreement:
    argmax_pct: float
    """Of teacher-forced codes that are the likeliest in both modes."""
    num_codes: int
    mel_l1: float
    """Mean absolute difference of log-mel values."""


@dataclass(frozen=True)
class Spoken:
    """A sentence and what float32 greedily makes of it."""

    ids: Array
    codes: Array
    latents: Array
    voice: Tensors


def agreement(model_dir: Path, modes: Modes, load: Workload, sentences: int = _SENTENCES) -> Agreement:
    """Compare the modes with float32, the flow at the workload's steps and guidance.

    Raises:
        CheckpointError: The checkpoint is not whole, or the machine has no such arithmetic.
    """
    exact = (_gpt_engine(model_dir, "fp32"), _s2mel_engine(model_dir, "fp32"))
    spoken = list(_spoken(model_dir, *exact, sentences))
    chosen = [np.concatenate(list(_chosen(model_dir, mode, spoken))) for mode in ("fp32", modes.gpt)]
    fast = _s2mel_engine(model_dir, modes.s2mel)
    params = {"steps": float(load.steps), "cfg_rate": load.cfg_rate}
    quicker = params | {"guidance_interval": float(modes.guidance_interval)}
    differences = [np.abs(_mel(exact[1], each, params) - _mel(fast, each, quicker)).ravel() for each in spoken]
    return Agreement(
        argmax_pct=100 * float((chosen[0] == chosen[1]).mean()),
        num_codes=len(chosen[0]),
        mel_l1=float(np.concatenate(differences).mean()),
    )


def _gpt_engine(model_dir: Path, dtype: str) -> Engine:
    settings = GptWorkerSettings.model_validate({"model_dir": model_dir, "slots": 1, "dtype": dtype, "device": "cpu"})
    return TorchEngine(gpt_loading.load_engine(settings))


def _s2mel_engine(model_dir: Path, dtype: str) -> Engine:
    settings = S2MelWorkerSettings.model_validate({"model_dir": model_dir, "slots": 1, "dtype": dtype, "device": "cpu"})
    return TorchEngine(s2mel_engine.load_engine(settings))


def _spoken(model_dir: Path, gpt: Engine, s2mel: Engine, sentences: int) -> Iterator[Spoken]:
    frontend = build_frontend(load_config(model_dir), model_dir)
    # The vocoder has no voice steps.
    stages = Stages(gpt, s2mel, s2mel)
    voices = [voice_features(stages, path) for path in recordings(model_dir / "voices")]
    for number, text in enumerate(read_sentences()[:sentences]):
        voice = voices[number % len(voices)]
        ids = np.array(frontend.segments(text)[0].token_ids, np.int32)
        params = {"greedy": 1.0, "max_codes": float(_MAX_CODES)}
        policy = gpt.spec.default_policy
        with StageRun(gpt, seed=number, policy=policy, params=params, voice=voice) as run:
            chunks = [chunk.tensors for chunk in run.push(Chunk(0, 0, {"ids": ids}, is_segment_end=True))]
        codes, latents = (np.concatenate([chunk[name] for chunk in chunks]) for name in ("codes", "latents"))
        yield Spoken(ids, codes, latents, voice)


@torch.inference_mode()
def _chosen(model_dir: Path, dtype: str, spoken: list[Spoken]) -> Iterator[Array]:
    """The likeliest next code behind the prefix and behind every code, sentence by sentence."""
    config = load_config(model_dir)
    stage = load_gpt_stage(CheckpointFiles.locate(model_dir, config), config)
    stage.voice.gpt.convert(numeric_mode(dtype))
    for each in spoken:
        names = VoiceConditions.__dataclass_fields__
        conditions = VoiceConditions(**{name: torch.from_numpy(each.voice[name]) for name in names})
        conds = stage.conditioning(conditions, stage.emotion_vector(conditions))
        yield _forced(stage.voice, conds, each)


def _forced(model: UnifiedVoice, conds: torch.Tensor, spoken: Spoken) -> Array:
    prefix = model.embed_prefix(conds, model.frame_text([int(i) for i in spoken.ids]))
    decoder = new_decoder(model, rows=1, max_length=prefix.shape[1] + len(spoken.codes))
    scores: list[Array] = [model.prefill(prefix, decoder.cache, row=0).logits.numpy()]
    for count, code in enumerate(spoken.codes, start=1):
        [output] = decoder.decode([NextCode(0, int(code), code_position(count, "fast"))])
        scores.append(output.logits)
    chosen: Array = np.stack(scores).argmax(axis=1)
    return chosen


def _mel(engine: Engine, spoken: Spoken, params: dict[str, float]) -> Array:
    """A whole render, as at full size."""
    chunk = Chunk(0, 0, {"codes": spoken.codes, "latents": spoken.latents}, is_segment_end=True)
    with StageRun(engine, seed=1, policy=WHOLE, params=params, voice=spoken.voice) as run:
        return np.concatenate([each.tensors["mel"] for each in run.push(chunk)])
