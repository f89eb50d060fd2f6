"""How much memory a slot of the GPT stage takes: the keys and values of its longest segment."""

from __future__ import annotations

import torch

from services.gpt_worker.model.decoding import LENGTH_BUCKET
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.kv_cache import bucketed
from services.gpt_worker.spec import max_codes


def slot_positions(dimensions: GptDimensions) -> int:
    """Positions of the longest segment: conditioning, text with its markers, start token, codes."""
    conditioning_rows = dimensions.speaker.perceiver.latents + 2
    return conditioning_rows + dimensions.text_positions + 1 + max_codes(dimensions)


def slot_bytes(dimensions: GptDimensions, dtype: torch.dtype) -> int:
    """Bytes of one row of the cache, at the length to which a GPU rounds it up."""
    positions = bucketed(slot_positions(dimensions), LENGTH_BUCKET)
    return 2 * dimensions.layers * dimensions.width * positions * dtype.itemsize
