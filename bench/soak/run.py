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
from bench.soak.slow_text import SlowSpeech, letters, speak_slowly

_PART_SECONDS = 60.0
"""Of the beginning and the end, which are compared; less of a short speech."""
_TRIED_CHARACTERS = 300
"""Spoken first, for the pace of the voice."""
_MARGIN = 1.08
"""How much longer than its pace suggests a text is, so that its speech has the time that was asked for."""
_WORDS_AT_A_TIME = 3
_PAUSE_SECONDS = 1.0
"""Between pieces of the slow text, on average: about as fast as it is spoken."""
_THOUGHT_SECONDS = 5.0
_THOUGHT_SHARE = 0.05
"""Now and then a writer thinks, for longer than what was said lasts."""


@dataclass(frozen=True)
class LongSpeech:
    """What came of a long text."""

    unspoken_letters: int
    """Of the text behind the last segment that ended."""
    cut_segments: int
    """Segments that ended at the model's limit and not by themselves."""
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
    """Speak so many minutes in one request, or a little more, and watch the processes meanwhile.

    Raises:
        TtsError: A call fails.
        ValueError: The server takes no text of such a length.
    """
    async with AsyncClient(measured.address, retries=0) as client:
        text = await _text_of(client, minutes, setting, seed)
        return await _speak_long(measured, client, text, setting, seed)


async def _text_of(client: AsyncClient, minutes: float, setting: Setting, seed: int) -> str:
    """A text that takes so long at the pace of a shorter one."""
    tried = passage(_TRIED_CHARACTERS)
    spoken = await client.synthesize(tried, **setting.options(seed))
    characters = int(_MARGIN * 60 * minutes * len(tried) / spoken.duration_seconds)
    most = (await client.model()).limits.max_stream_characters
    if characters > most:
        raise ValueError(f"{minutes:g} minutes of speech are about {characters} characters; the server takes {most}")
    return passage(characters)


async def _speak_long(measured: Measured, client: AsyncClient, text: str, setting: Setting, seed: int) -> LongSpeech:
    memory = MemoryTrace(measured.processes)
    watching = asyncio.create_task(memory.follow())
    began = monotonic()
    heard: list[Audio] = []
    pieces: list[Piece] = []
    try:
        async for audio in client.synthesize_stream(text, **(setting.options(seed) | {"timeout": None})):
            heard.append(audio)
            pieces.append(Piece(monotonic(), audio.duration_seconds))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return _long_speech(text, heard, pieces, monotonic() - began, memory)


def _long_speech(
    text: str, heard: Sequence[Audio], pieces: Sequence[Piece], wall_seconds: float, memory: MemoryTrace
) -> LongSpeech:
    samples = np.concatenate([audio.samples for audio in heard])
    rate_hz = heard[0].sample_rate_hz
    segments: list[Segment] = [segment for audio in heard for segment in audio.segment_ends]
    audio_seconds = len(samples) / rate_hz
    part = min(_PART_SECONDS, audio_seconds / 2)
    return LongSpeech(
        letters(text[max((segment.text_span.end for segment in segments), default=0) :]),
        sum(segment.finish_reason == "max_codes" for segment in segments),
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
    thoughts = np.where(generator.random(len(pieces)) < _THOUGHT_SHARE, _THOUGHT_SECONDS, 0.0)
    pauses = generator.exponential(_PAUSE_SECONDS, len(pieces)) + thoughts
    async with AsyncClient(measured.address, retries=0) as client:
        # As rendered: a piece of fixed length would hold the end of one sentence back until the next is spoken.
        return await speak_slowly(client, pieces, pauses.tolist(), replace(setting, chunk_ms=0), seed)


def _pieces(count: int) -> list[str]:
    words = " ".join(SENTENCES[number % len(SENTENCES)] for number in range(count)).split(" ")
    return [" ".join(words[at : at + _WORDS_AT_A_TIME]) + " " for at in range(0, len(words), _WORDS_AT_A_TIME)]
