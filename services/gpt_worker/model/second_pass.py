"""The second forward pass, done as the codes come (§6.7): same latents, no waiting for the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.unified_voice import UnifiedVoice


class IncrementalSecondPass:
    """Owns one row of a cache that is not the decode's."""

    def __init__(
        self, model: UnifiedVoice, conds: Tensor, text_ids: Sequence[int], cache: KeyValueCache, row: int
    ) -> None:
        """Prefill with conditioning rows (1, C, D) and text."""
        self._model, self._cache, self._row = model, cache, row
        text = model.frame_text(text_ids, keep_markers=True)
        self._next = model.prefill(model.embed_prefix(conds, text), cache, row).latent
        self._num_codes = 0

    def append(self, codes: Sequence[int]) -> Tensor:
        """Take the next codes and return their latents (len(codes), D)."""
        tokens = torch.tensor([list(codes)], device=self._next.device)
        embedded = self._model.embed_codes(tokens, self._num_codes + 1)
        hidden = self._model.final_norm(self._model.gpt.extend(embedded, self._cache, self._row))[0]
        latents = torch.cat([self._next[None], hidden[:-1]])
        self._next = hidden[-1]
        self._num_codes += len(codes)
        return latents
