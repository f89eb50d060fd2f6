"""How often each numeric mode of the GPT would choose the code that float32 chooses, on the embedded checkpoint.

The codes are those that float32 decodes greedily from real sentences; each mode is fed them and asked for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from services.common.arrays import Array
from services.common.checkpoint import CheckpointFiles, load_config
from services.frontend.text.frontend import build_frontend
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.loading import GptStageModel, load_gpt_stage, load_unified_voice
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.resampling import resample
from services.gpt_worker.model.unified_voice import UnifiedVoice
from tests.system.conftest import MODEL_DIR

SENTENCES = (
    "The old man walked slowly down to the river.",
    "She put the letter on the table and left the room.",
    "We had a long talk about the weather and the news.",
    "Please turn off the lights before you go to bed.",
    "He bought seven apples and a loaf of bread.",
    "The train to the north leaves at half past nine.",
    "Nobody knew why the garden gate was open.",
    "It rained all morning, but the afternoon was dry.",
    "They sold their house and moved to a small village.",
    "Can you tell me where the library is?",
)
CONFIG = load_config(MODEL_DIR)
FILES = CheckpointFiles.locate(MODEL_DIR, CONFIG)
GREEDY = SamplingOptions(do_sample=False, repetition_penalty=1.0, max_codes=250)


def prefixes(stage: GptStageModel, sentences: Sequence[str]) -> Iterator[Tensor]:
    """(1, P, D) of each sentence in a voice of the embedded checkpoint."""
    audio, rate = soundfile.read(f"{MODEL_DIR}/voices/amber.flac", dtype="float32")
    features = stage.voice_features(resample(torch.from_numpy(audio), rate, 22050))
    spk_cond = features["spk_cond"]
    emo_cond = stage.emotion_features(features["audio_16k"])
    style = torch.from_numpy(np.random.default_rng(0).standard_normal(192).astype(np.float32))
    conditions = stage.condition(spk_cond, emo_cond, style)
    rows = stage.conditioning(conditions, stage.emotion_vector(conditions))
    frontend = build_frontend(CONFIG, MODEL_DIR)
    for sentence in sentences:
        for segment in frontend.segments(sentence):
            yield stage.voice.embed_prefix(rows, stage.voice.frame_text(segment.token_ids))


def choices(voice: UnifiedVoice, prefix: Tensor, codes: Sequence[int]) -> Array:
    """The likeliest code after the prefix and after each code, decoded one by one."""
    cache = voice.gpt.new_cache(1, prefix.shape[1] + len(codes))
    steps = [voice.prefill(prefix, cache, 0)]
    steps += [voice.decode_step(code, index, cache, 0) for index, code in enumerate(codes, start=1)]
    return np.array([int(step.logits.argmax()) for step in steps])


@torch.inference_mode()
def agreement_pct(modes: Sequence[str], sentences: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Share of equal choices in per cent, and the number of choices, of each mode."""
    stage = load_gpt_stage(FILES, CONFIG)
    spoken = [
        (prefix, generate(stage.voice, prefix, GREEDY, positions="fast").codes[:-1])
        for prefix in prefixes(stage, sentences)
    ]
    exact = np.concatenate([choices(stage.voice, *each) for each in spoken])
    found: dict[str, tuple[float, int]] = {}
    for mode in modes:
        voice = load_unified_voice(FILES, CONFIG)
        voice.gpt.convert(mode)
        made = np.concatenate([choices(voice, *each) for each in spoken])
        found[mode] = (100 * float((made == exact).mean()), len(exact))
    return found


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="torch has no FBGEMM here")
def test_modes_choose_as_float32_does() -> None:
    found = agreement_pct(["float32", "float16", "bfloat16"], SENTENCES[:2])

    for mode, (percent, count) in found.items():
        assert count > 50
        assert percent >= 99.5, f"{mode} agrees in {percent:.2f} % of {count} choices"
