"""The two soaks: one long text, and one that arrives slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from triptych import AsyncClient, Audio, Segment

from bench.load import playback
from bench.load.playback import Gap, Piece
from bench.load.setting import Setting
from bench.load.system import Measured
from bench.load.texts import SENTENCES, passage
from bench.soak.drift import Manner, manner
from bench.soak.memory import MemoryTrace
from bench.soak.slow_text import SlowSpeech, speak_slowly

_PART_SECONDS = 60.0
"""Of the beginning and the end, which are compared; less of a short speech."""
_CHARACTERS_PER_SECOND = 15.0
"""About what speech takes; the text is as long as the time that was asked for at this pace."""


@dataclass(frozen=True)
class LongSpeech:
    """What came of a long text."""

    audio_seconds: float
    wall_seconds: float
    first: Manner
    last: Manner
    gaps: Sequence[Gap]
    memory: MemoryTrace

    @property
    def real_time_factor(self) -> float:
        return self.wall_seconds / self.audio_seconds


async def long_text(measured: Measured, minutes: float, setting: Setting, seed: int) -> LongSpeech:
    """Speak about so many minutes in one request and watch the processes meanwhile.

    Raises:
        TtsError: The call fails.
    """
    memory = MemoryTrace(measured.processes)
    watching = asyncio.create_task(memory.follow())
    began = monotonic()
    heard: list[Audio] = []
    pieces: list[Piece] = []
    try:
        async with AsyncClient(measured.address, retries=0) as client:
            limits = (await client.model()).limits
            characters = min(int(60 * minutes * _CHARACTERS_PER_SECOND), limits.max_stream_characters)
            options = setting.options(seed) | {"timeout": None}
            async for audio in client.synthesize_stream(passage(characters), **options):
                heard.append(audio)
                pieces.append(Piece(monotonic(), audio.duration_seconds))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return _long_speech(heard, pieces, monotonic() - began, memory)


def _long_speech(
    heard: Sequence[Audio], pieces: Sequence[Piece], wall_seconds: float, memory: MemoryTrace
) -> LongSpeech:
    samples = np.concatenate([audio.samples for audio in heard])
    rate_hz = heard[0].sample_rate_hz
    segments: list[Segment] = [segment for audio in heard for segment in audio.segment_ends]
    audio_seconds = len(samples) / rate_hz
    part = min(_PART_SECONDS, audio_seconds / 2)
    return LongSpeech(
        audio_seconds,
        wall_seconds,
        manner(samples, segments, rate_hz, 0.0, part),
        manner(samples, segments, rate_hz, audio_seconds - part, audio_seconds),
        playback.gaps(pieces),
        memory,
    )


async def slow_text(measured: Measured, count: int, setting: Setting, seed: int) -> SlowSpeech:
    """Send so many sentences in pieces of a few words, with pauses, some of which outlast what was spoken.

    Raises:
        TtsError: The call fails.
    """
    pieces = _pieces(count)
    generator = np.random.Generator(np.random.Philox(seed))
    # A writer's pace: a few words in a third of a second, and now and then a thought.
    pauses = generator.exponential(0.3, len(pieces)) + np.where(generator.random(len(pieces)) < 0.05, 4.0, 0.0)
    async with AsyncClient(measured.address, retries=0) as client:
        # As rendered: a piece of fixed length would hold the end of one sentence back until the next is spoken.
        return await speak_slowly(client, pieces, pauses.tolist(), replace(setting, chunk_ms=0), seed)


def _pieces(count: int) -> list[str]:
    words = " ".join(SENTENCES[number % len(SENTENCES)] for number in range(count)).split(" ")
    return [" ".join(words[at : at + 3]) + " " for at in range(0, len(words), 3)]
