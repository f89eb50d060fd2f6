"""The rows in front of every text: what a voice and an emotion condition, kept for those that were used last.

Letters: C conditioning rows, D width, H heads, d head width.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.common.arrays import Array
from services.common.byte_lru import ByteLru
from services.common.stage.session import Session
from services.gpt_worker.model import emotion
from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.loading import GptStageModel, VoiceConditions

_PARAMS = ("emotion_weight", "emotion_normalized")
"""Parameters that change the rows."""


@dataclass(slots=True)
class Prefix:
    """Conditioning of one voice with one emotion."""

    rows: Tensor  # (1, C, D)
    past: Tensor | None = None  # (layers, 2, H, C, d), once the trunk has seen the rows

    @property
    def num_bytes(self) -> int:
        return self.rows.nbytes + (0 if self.past is None else self.past.nbytes)


class Prefixes:
    """Every row begins with its prefix as a piece of its own, so that keys and values that were kept are those that
    would be computed again, bit for bit.

    Args:
        stage: What computes.
        max_bytes: What is kept may take.
    """

    def __init__(self, stage: GptStageModel, *, max_bytes: int) -> None:
        self._stage = stage
        self._kept: ByteLru[Hashable, Prefix] = ByteLru("gpt_prefix", max_bytes=max_bytes)

    def of(self, session: Session) -> Prefix:
        """The prefix of a session's voice and emotion.

        Raises:
            InvalidRequestError: The emotion's numbers make no vector.
        """
        key = _key(session)
        prefix = None if key is None else self._kept.get(key)
        if prefix is None:
            prefix = Prefix(self._conditioning(session))
            self._keep(key, prefix)
        return prefix

    def start_row(self, prefix: Prefix, session: Session, cache: KeyValueCache, row: int) -> bool:
        """Put a prefix into a row, as its first positions; give whether that had to be computed."""
        if prefix.past is not None:
            cache.paste_prefix(row, prefix.past)
            return False
        cache.reset(row)
        self._stage.voice.gpt.extend(prefix.rows[0], cache, row)
        prefix.past = cache.copy_prefix(row, prefix.rows.shape[1])
        self._keep(_key(session), prefix)
        return True

    def clear(self) -> None:
        """Keep none of them; sessions go on with theirs."""
        self._kept.clear()

    def _keep(self, key: Hashable | None, prefix: Prefix) -> None:
        if key is not None:
            self._kept.put(key, prefix, prefix.num_bytes)

    def _conditioning(self, session: Session) -> Tensor:
        voice = VoiceConditions(**{name: self._tensor(array) for name, array in session.voice.items()})
        vector, other = session.options.get("emotion_vector"), session.options.get("emotion_emovec")
        weights = None if vector is None else [float(weight) for weight in vector]
        if weights is not None and session.params["emotion_normalized"]:
            weights = emotion.normalize_emotion_vector(weights)
        emovec = self._stage.emotion_vector(
            voice,
            recording=None if other is None else self._tensor(other),
            weights=weights,
            alpha=session.params["emotion_weight"],
        )
        return self._stage.conditioning(voice, emovec)

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self._stage.device)


def _key(session: Session) -> Hashable | None:
    """What decides the prefix; None for a voice without a name."""
    if not session.voice_hash:
        return None
    options = tuple(sorted((name, array.tobytes()) for name, array in session.options.items()))
    return session.voice_hash, options, tuple(session.params[name] for name in _PARAMS)
