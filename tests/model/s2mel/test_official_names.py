"""At full size every module has exactly the names and shapes of the published files."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from services.common.checkpoint import CheckpointConfig
from services.s2mel_worker.model import codec, dit, length_regulator
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.weight_norm import add_weight_norm

FULL_SIZE = Path(__file__).parents[2] / "golden" / "fullsize_keys.json.gz"

Shapes = dict[str, tuple[int, ...]]


def published(file: str, section: str = "") -> Shapes:
    keys = json.loads(gzip.decompress(FULL_SIZE.read_bytes()))["files"][file]["keys"]
    return {
        name.removeprefix(section): tuple(entry["shape"]) for name, entry in keys.items() if name.startswith(section)
    }


def shapes(module: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def without(names: Shapes, unused: Sequence[str]) -> Shapes:
    left = {k: v for k, v in names.items() if not any(re.fullmatch(pattern, k) for pattern in unused)}
    assert all(any(re.fullmatch(pattern, name) for name in names) for pattern in unused)
    return left


@pytest.fixture(scope="module")
def full() -> S2MelStageModel:
    with torch.device("meta"):
        return S2MelStageModel(CheckpointConfig())


def test_style_network(full: S2MelStageModel) -> None:
    assert shapes(full.campplus) == published("hf_cache/campplus_cn_common.bin")


def test_codec(full: S2MelStageModel) -> None:
    add_weight_norm(full.codec, codec.WEIGHT_NORMED)
    names = published("hf_cache/semantic_codec_model.safetensors")
    assert shapes(full.codec) == without(names, codec.UNUSED)


def test_length_regulator(full: S2MelStageModel) -> None:
    names = published("s2mel.pth", "net.length_regulator.")
    assert shapes(full.length_regulator) == without(names, length_regulator.UNUSED)


def test_latent_layer(full: S2MelStageModel) -> None:
    assert shapes(full.gpt_layer) == published("s2mel.pth", "net.gpt_layer.")


def test_flow(full: S2MelStageModel) -> None:
    add_weight_norm(full.cfm, dit.WEIGHT_NORMED)
    names = published("s2mel.pth", "net.cfm.")
    unused = [rf"estimator\.({name})" for name in dit.UNUSED]
    assert shapes(full.cfm) == without(names, unused)
