"""What slots take, and networks that only a new voice needs: elsewhere, or nowhere between two voices."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from services.common.arrays import Tensors
from services.common.checkpoint import CheckpointError, CheckpointFiles, load_config
from services.common.voice_networks import VoiceNetworks, num_bytes
from services.gpt_worker import voice as gpt_voice
from services.gpt_worker.footprint import slot_bytes
from services.gpt_worker.loading import load_engine as load_gpt
from services.gpt_worker.model.loading import GptStageModel, load_gpt_stage
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker import voice as s2mel_voice
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.stage import S2MelStageModel
from tests.system.conftest import MODEL_DIR

AUDIO = (0.1 * np.random.default_rng(1).standard_normal(11025)).astype(np.float32)


def load(place: Any, directory: Path = Path(MODEL_DIR)) -> tuple[GptStageModel, S2MelStageModel]:
    config = load_config(directory)
    files = CheckpointFiles.locate(directory, config)
    return load_gpt_stage(files, config, "cpu", place), load_s2mel_stage(files, config, "cpu", place)


def voice(gpt: GptStageModel, s2mel: S2MelStageModel) -> Tensors:
    """All features of a recording, through both stages."""
    speaker = gpt_voice.encode_voice(gpt, "speaker_features", {"audio_22050": AUDIO})
    emotion = gpt_voice.encode_voice(gpt, "emotion_features", {"audio_16000": speaker["audio_16k"]})
    prompt = s2mel_voice.encode_voice(s2mel, "prompt", {"audio_22050": AUDIO, **speaker})
    given = {"spk_cond": speaker["spk_cond"], "emo_cond": emotion["emo_cond"], "style": prompt["style"]}
    return {**speaker, **emotion, **prompt, **gpt_voice.encode_voice(gpt, "condition", given)}


def voice_networks(gpt: GptStageModel, s2mel: S2MelStageModel) -> list[nn.Module]:
    conditioners = [gpt.voice.conditioning_encoder, gpt.voice.emo_perceiver_encoder, gpt.voice.emo_layer]
    return [gpt.encoder, *conditioners, s2mel.campplus, s2mel.codec.encoder]


@pytest.fixture(scope="module")
def expected() -> Tensors:
    made = voice(*load("device"))
    assert all(array.std() > 1e-3 for array in made.values())
    return made


@pytest.mark.parametrize("place", ["cpu", "released"])
def test_a_voice_is_the_same_wherever_its_networks_live(expected: Tensors, place: str) -> None:
    stages = load(place)
    for _ in range(2):
        made = voice(*stages)
        assert all(np.array_equal(made[name], expected[name]) for name in expected)


def test_released_networks_hold_no_memory_between_voices_and_the_others_stay() -> None:
    gpt, s2mel = load("released")
    for _ in range(2):
        held = [value for network in voice_networks(gpt, s2mel) for value in network.parameters()]
        assert all(value.is_meta for value in [*held, gpt.encoder.mean])
        assert not any(value.is_meta for value in [*gpt.voice.gpt.parameters(), *s2mel.cfm.parameters()])
        assert not any(value.is_meta for value in s2mel.codec.quantizer.parameters())
        voice(gpt, s2mel)


def test_a_voice_that_fails_leaves_nothing_behind_and_the_next_one_works(tmp_path: Path, expected: Tensors) -> None:
    shutil.copytree(MODEL_DIR, tmp_path / "model")
    stages = load("released", tmp_path / "model")
    file = CheckpointFiles.locate(tmp_path / "model").w2v_bert
    file.rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match="no such file"):
        voice(*stages)
    assert all(value.is_meta for value in stages[0].encoder.parameters())

    (tmp_path / "away").rename(file)
    assert np.array_equal(voice(*stages)["spk_cond"], expected["spk_cond"])


def test_networks_that_are_used_inside_a_use_are_read_once() -> None:
    reads: list[str] = []
    network = nn.Linear(2, 2)

    def restore() -> None:
        reads.append("read")
        network.to_empty(device="cpu")

    networks = VoiceNetworks([network], place="released", device=torch.device("cpu"), restore=restore)
    with networks.at_hand(), networks.at_hand() as device:
        assert device.type == network.weight.device.type == "cpu"
    assert reads == ["read"]
    assert network.weight.is_meta


def test_what_comes_back_for_a_voice_is_known_before_the_first_one() -> None:
    for place, comes_back in (("device", False), ("cpu", False), ("released", True)):
        gpt, s2mel = load(place)
        assert s2mel.voice_networks is not None
        assert bool(gpt.returning_bytes) == bool(s2mel.voice_networks.returning_bytes) == comes_back
        assert gpt.is_voice_on_device == s2mel.voice_networks.is_on_device == (place != "cpu")
    released, held = load("released")[1].voice_networks, voice_networks(*load("device"))[-2:]
    assert released is not None
    assert released.returning_bytes == num_bytes(held)


def test_a_slot_of_the_gpt_takes_what_is_stated() -> None:
    """What the cache of a CPU has beside it is the rounding up of its length on a GPU."""
    engine = load_gpt(GptWorkerSettings(model_dir=MODEL_DIR, slots=2))
    stated = slot_bytes(engine._model.dimensions, torch.float32)

    assert engine.bytes_per_slot <= stated < engine.bytes_per_slot * 1.3
    assert slot_bytes(engine._model.dimensions, torch.float16) == stated // 2
