"""Segments as published: they leave whole, and their latents come from a second pass over all their codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.stage.session import Chunk, FinishReason
from services.gpt_worker.model.beam_search import beam_search
from services.gpt_worker.model.unified_voice import UnifiedVoice
from services.gpt_worker.prefill import whole_prefix
from services.gpt_worker.segment import end_without_codes
from services.gpt_worker.session_state import SessionState


def searched(model: UnifiedVoice, state: SessionState, *, num_spoken: int) -> Chunk:
    """The segment in work by beam search, in one step; ids from `num_spoken` on are no codes that have a sound."""
    prefix = whole_prefix(model, state)
    codes = beam_search(model, prefix, state.options, seed=state.session.seed, segment=state.segment)
    stop = model.dimensions.stop_code
    reason = FinishReason.STOP if stop in codes else FinishReason.MAX_CODES
    codes = codes[: codes.index(stop)] if stop in codes else codes
    return with_second_pass(model, state, [code for code in codes if code < num_spoken], reason)


def with_second_pass(model: UnifiedVoice, state: SessionState, codes: Sequence[int], reason: FinishReason) -> Chunk:
    """All codes of the segment in work with their latents."""
    if not codes:
        return end_without_codes(state.segment, 0, reason, model.dimensions.width)
    latents = model.second_pass(state.prefix.rows, state.ids, codes).float().cpu().numpy()
    tensors = {"codes": np.array(codes, np.int32), "latents": latents}
    return Chunk(state.segment, 0, tensors, is_segment_end=True, finish_reason=reason)
