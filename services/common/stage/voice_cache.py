"""The voices that a worker has seen lately, by the hash of their tensors."""

from __future__ import annotations

from services.common.arrays import Tensors
from services.common.byte_lru import ByteLru

DEFAULT_BYTES = 256 << 20


class VoiceCache:
    """Keeps the most recently used voices, at most `max_bytes` of them."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._voices: ByteLru[str, Tensors] = ByteLru("voices", max_bytes=max_bytes)

    def get(self, voice_hash: str) -> Tensors | None:
        return self._voices.get(voice_hash)

    def put(self, voice_hash: str, voice: Tensors) -> None:
        self._voices.put(voice_hash, voice, sum(array.nbytes for array in voice.values()))
