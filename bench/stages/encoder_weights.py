"""The weights of the networks that only a new voice needs, as a GPT worker keeps them: they are held, not computed.

Their library is not on every machine; their shapes are.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from services.common.checkpoint import CheckpointConfig

_KEYS = Path(__file__).parents[2] / "tests" / "golden" / "fullsize_keys.json.gz"
_ENCODER, _GPT = "hf_cache/w2v-bert-2.0/model.safetensors", "gpt.pth"
_CONDITIONERS = ("conditioning_encoder.", "perceiver_encoder.", "emo_conditioning_encoder.", "emo_perceiver_encoder.")
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


def shapes() -> Iterator[tuple[int, ...]]:
    """Of the official checkpoint's w2v-BERT up to the layer that is used, and of the GPT's conditioners."""
    with gzip.open(_KEYS, "rt", encoding="utf-8") as stream:
        files = json.load(stream)["files"]
    used = CheckpointConfig().semantic_encoder.layer
    for name, entry in files[_ENCODER]["keys"].items():
        layer = _LAYER.match(name)
        if layer is None or int(layer[1]) < used:
            yield tuple(entry["shape"])
    for name, entry in files[_GPT]["keys"].items():
        if name.startswith(_CONDITIONERS):
            yield tuple(entry["shape"])


def num_bytes() -> int:
    """In float32, which they are kept in."""
    return sum(4 * math.prod(shape) for shape in shapes())


def allocate(device: str) -> list[Tensor]:
    """Memory for all of them."""
    return [torch.empty(shape, device=device) for shape in shapes()]
