"""The voices that a worker has seen lately, by the hash of their tensors."""

from __future__ import annotations

from collections import OrderedDict

from services.common.arrays import Tensors


class VoiceCache:
    """Keeps the most recently used voices, at most `capacity` of them."""

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._voices: OrderedDict[str, Tensors] = OrderedDict()

    def get(self, voice_hash: str) -> Tensors | None:
        voice = self._voices.get(voice_hash)
        if voice is not None:
            self._voices.move_to_end(voice_hash)
        return voice

    def put(self, voice_hash: str, voice: Tensors) -> None:
        self._voices[voice_hash] = voice
        self._voices.move_to_end(voice_hash)
        while len(self._voices) > self._capacity:
            self._voices.popitem(last=False)
