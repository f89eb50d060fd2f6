"""A family of two stages: ids of characters to codes of two codebooks, and those to samples, by arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from services.common.arrays import Array, Tensors
from services.common.stage.policy import Policy
from services.common.stage.session import Session
from services.common.stage.spec import (
    DeviceInfo,
    Edge,
    EdgeKind,
    ParamSpec,
    StageSpec,
    TensorSpec,
    VoiceMode,
    VoiceStep,
)
from tests.families.character_text import VOCABULARY
from tests.families.walking_engine import WalkingEngine

MODEL = "duet"
REVISION = "duet-1"
SAMPLE_RATE = 24_000
BOOKS = 2
CODES = 64
"""Ids in each codebook."""
SAMPLES_PER_CODE = 1_920
"""80 ms: 12.5 codes a second."""
CODES_PER_ID = 1
LANGUAGES = ("de", "en")
MAX_TOKENS = 40

_TEXT = Edge(EdgeKind.TEXT, (TensorSpec("characters", "int32", (-1,)),), vocabulary=VOCABULARY)
_TOKENS = Edge(
    EdgeKind.TOKENS,
    (TensorSpec("codes", "int32", (-1, BOOKS)),),
    rate_numerator=25,
    rate_denominator=2,
    codebooks=BOOKS,
    vocabulary=CODES,
)
_PCM = Edge(EdgeKind.PCM, (TensorSpec("pcm", "int16", (-1,)),), rate_numerator=SAMPLE_RATE, sample_rate_hz=SAMPLE_RATE)
_AUDIO = TensorSpec("audio_24000", "float32", (-1,))
_TRANSCRIPT = TensorSpec("transcript", "uint8", (-1,))
_PROMPT = TensorSpec("prompt", "uint8", (16,))
_LOUDNESS = TensorSpec("loudness", "float32", (1,))
_DEVICE = DeviceInfo("any", "cpu", "numpy", "float64")


def talker_spec(*, slots: int = 2) -> StageSpec:
    return StageSpec(
        stage="talker",
        model=MODEL,
        revision=REVISION,
        takes=_TEXT,
        gives=_TOKENS,
        slots=slots,
        device=_DEVICE,
        policies=(Policy(),),
        voice_steps=(VoiceStep("prompt", (_AUDIO, _TRANSCRIPT), (_PROMPT.name,), max_audio_seconds=8.0),),
        conditions=(_PROMPT,),
        params=(ParamSpec("max_codes", 1, 1000, 1000, "codes after which a segment is cut", is_integer=True),),
        languages=LANGUAGES,
        max_tokens_per_segment=MAX_TOKENS,
        voice_modes=(VoiceMode.REFERENCE_WITH_TRANSCRIPT,),
        takes_instruction=True,
    )


def codec_spec(*, slots: int = 2) -> StageSpec:
    return StageSpec(
        stage="codec",
        model=MODEL,
        revision=REVISION,
        takes=_TOKENS,
        gives=_PCM,
        slots=slots,
        device=_DEVICE,
        policies=(Policy(),),
        # It waits for the other stage's step, although the audio alone would do: steps go over stages.
        voice_steps=(VoiceStep("loudness", (_AUDIO, _PROMPT), (_LOUDNESS.name,)),),
        conditions=(_LOUDNESS,),
        params=(ParamSpec("duration_factor", 0.5, 2.0, 1.0, "how much longer than usual a code lasts"),),
        input_window_chunks=4,
    )


class TalkerEngine(WalkingEngine):
    """A code is drawn by seed, segment, instruction, language, voice and index, and moved by its character."""

    def __init__(self, *, slots: int = 2) -> None:
        super().__init__(talker_spec(slots=slots), items_per_step=1)

    def made_per_item(self, session: Session) -> int:
        return CODES_PER_ID

    def limit(self, session: Session) -> int | None:
        return int(session.params["max_codes"])

    def make(self, session: Session, items: Array, segment: int, start: int) -> Array:
        key = _key(session.seed, segment, session.instruction, session.language, session.voice["prompt"].tobytes())
        return np.stack([_draw(key, index, int(item)) for index, item in enumerate(items, start)])

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        said = hashlib.sha256(tensors["transcript"].tobytes()).digest() + tensors["audio_24000"].tobytes()
        return {"prompt": np.frombuffer(hashlib.sha256(said).digest()[:16], np.uint8)}


class CodecEngine(WalkingEngine):
    """Every code is two tones."""

    def __init__(self, *, slots: int = 2) -> None:
        super().__init__(codec_spec(slots=slots), items_per_step=4)

    def made_per_item(self, session: Session) -> int:
        return samples_per_code(session.params["duration_factor"])

    def make(self, session: Session, items: Array, segment: int, start: int) -> Array:
        each = self.made_per_item(session)
        return tones(items, each, start=start, loudness=float(session.voice["loudness"][0]))

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        audio = tensors["audio_24000"]
        return {"loudness": np.sqrt(np.mean(np.square(audio), keepdims=True))}


def samples_per_code(duration_factor: float = 1.0) -> int:
    return round(SAMPLES_PER_CODE * duration_factor)


def tones(codes: Array, each: int, *, start: int = 0, loudness: float = 0.2) -> Array:
    """Samples, int16 (n·each,), of codes (n, books) of which the first has the index `start` in its segment."""
    seconds = np.arange(start * each, (start + len(codes)) * each) / SAMPLE_RATE
    low, high = (np.repeat(codes[:, book].astype(np.float64), each) for book in range(BOOKS))
    wave = np.sin(2 * np.pi * (100 + 10 * low) * seconds) + np.sin(2 * np.pi * (1000 + 20 * high) * seconds)
    return np.rint(20_000 * min(loudness, 0.8) * wave).astype(np.int16)


def _key(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def _draw(key: int, index: int, character: int) -> Array:
    """The codes of one instant."""
    drawn = np.random.Generator(np.random.Philox(key=key, counter=index)).integers(CODES, size=BOOKS)
    return ((drawn + character) % CODES).astype(np.int32)
