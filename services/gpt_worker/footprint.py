"""How much memory the GPT stage takes on a GPU, from its sizes: exact for keys and values, large for the rest.

Letters: V code vocabulary, D width, H heads, L positions that a step reads, B rows of a batch, T positions of a prefix.
"""

from __future__ import annotations

import torch

from services.common.stage.slots import Demand
from services.gpt_worker.model.decoding import BATCH_BUCKETS, LENGTH_BUCKET, BatchDecoder, rows_bucket
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.kv_cache import bucketed
from services.gpt_worker.model.loading import PROMPT_SECONDS, GptStageModel
from services.gpt_worker.spec import max_codes

_FLOAT_BYTES = 4

_LIVE_WIDTHS = 20
"""Tensors (rows, D) that a block keeps at a time: queries, keys and values, four for the inner layer before its
activation and four behind it, and what is added and normalised around them."""

_SEMANTIC_FRAMES_PER_SECOND = 50


def slot_positions(dimensions: GptDimensions) -> int:
    """Positions of the longest segment: conditioning, text with its markers, start token, codes."""
    return _conditioning_rows(dimensions) + dimensions.text_positions + 1 + max_codes(dimensions)


def slot_bytes(dimensions: GptDimensions, dtype: torch.dtype) -> int:
    """Bytes of one row of the cache, at the length to which a GPU rounds it up."""
    return 2 * dimensions.layers * dimensions.width * _readable(dimensions) * dtype.itemsize


def prefix_bytes(dimensions: GptDimensions, dtype: torch.dtype) -> int:
    """Conditioning rows with their keys and values: a session holds its own, also when the cache gave them up."""
    keys_and_values = 2 * dimensions.layers * dtype.itemsize
    return _conditioning_rows(dimensions) * dimensions.width * (_FLOAT_BYTES + keys_and_values)


def decode_bytes(dimensions: GptDimensions, dtype: torch.dtype, rows: int) -> int:
    """One code of B rows: B (4 L D + 20 D + 2 (V + D)).

    A layer gathers keys and values of the rows, L D each, and attention may copy them once more.
    """
    width = dimensions.width
    gathered = 4 * _readable(dimensions) * width * dtype.itemsize
    return rows * (gathered + (_LIVE_WIDTHS * width + 2 * _output_width(dimensions)) * _FLOAT_BYTES)


def prefill_bytes(dimensions: GptDimensions, dtype: torch.dtype) -> int:
    """One piece of a prefix of one row: 2 H T L scores, before and behind the softmax, T L of the mask, and T 20 D."""
    pieces = max(BatchDecoder.prefill_positions, _conditioning_rows(dimensions))
    seen = (2 * dimensions.heads + 1) * pieces * _readable(dimensions) * dtype.itemsize
    embedded = 2 * (dimensions.text_positions + 1) * dimensions.width * _FLOAT_BYTES
    return seen + embedded + _LIVE_WIDTHS * pieces * dimensions.width * _FLOAT_BYTES


def graph_bytes(dimensions: GptDimensions, dtype: torch.dtype, rows: int) -> int:
    """The pool that all graphs share, of the largest step, and what each of them leaves: V + D of each row."""
    sizes = sum(size for size in BATCH_BUCKETS if size <= rows)
    lengths = _readable(dimensions) // LENGTH_BUCKET
    left = sizes * lengths * _output_width(dimensions) * _FLOAT_BYTES
    return decode_bytes(dimensions, dtype, rows) + left


def voice_bytes(stage: GptStageModel) -> int:
    """A new voice on the GPU: networks that come back for it, and the largest of its steps, the semantic encoder.

    That keeps the outputs of all its layers, T W each, and in the layer in work relative positions, T T d, and scores,
    4 H T T; letters as there.
    """
    if not stage.is_voice_on_device:
        return 0
    encoder = stage.encoder.encoder.config
    frames = int(PROMPT_SECONDS * _SEMANTIC_FRAMES_PER_SECOND)
    heads, width = int(encoder.num_attention_heads), int(encoder.hidden_size)
    widths = (int(encoder.num_hidden_layers) + 6) * width + 3 * int(encoder.intermediate_size)
    scores = frames * (2 * width // heads + 4 * heads)
    return stage.returning_bytes + frames * (scores + widths) * _FLOAT_BYTES


def demand(stage: GptStageModel, *, max_batch_size: int, prefix_cache_bytes: int) -> Demand:
    """What the stage takes beside its weights; published renders, with their beams and second passes, come on top."""
    dimensions, dtype = stage.voice.dimensions, stage.voice.gpt.dtype
    each = slot_bytes(dimensions, dtype) + prefix_bytes(dimensions, dtype)
    voices = voice_bytes(stage)

    def of(slots: int) -> dict[str, int]:
        rows = rows_bucket(min(slots, max_batch_size))
        return {
            # One row more: those that fill a batch up go there.
            "slots": slots * each + slot_bytes(dimensions, dtype),
            "steps": max(decode_bytes(dimensions, dtype, rows), prefill_bytes(dimensions, dtype)),
            "graphs": graph_bytes(dimensions, dtype, rows),
            "caches": prefix_cache_bytes,
            "voices": voices,
        }

    return of


def _conditioning_rows(dimensions: GptDimensions) -> int:
    return dimensions.speaker.perceiver.latents + 2


def _readable(dimensions: GptDimensions) -> int:
    return bucketed(slot_positions(dimensions), LENGTH_BUCKET)


def _output_width(dimensions: GptDimensions) -> int:
    return dimensions.codes + dimensions.width
