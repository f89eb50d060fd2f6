"""Text that is still being written while it is spoken, and whose fault a silence is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from triptych import AsyncClient, Audio

from bench.load import playback
from bench.load.playback import Gap, Piece
from bench.load.setting import Setting


@dataclass(frozen=True)
class Arrival:
    """A piece of the text, sent."""

    at: float
    end: int
    """Characters of the text up to and with this piece."""


@dataclass
class SlowSpeech:
    """What came of a text that arrived slowly; times in seconds on one clock."""

    arrivals: list[Arrival] = field(default_factory=list)
    text_ended: float = 0.0
    pieces: list[Piece] = field(default_factory=list)
    text_ends: list[int] = field(default_factory=list)
    """For each piece, where in the text its segment ends."""
    text: str = ""
    """What was to be sent in all."""

    @property
    def unspoken_letters(self) -> int:
        """Of the text behind the last segment that was spoken."""
        return letters(self.text[max(self.text_ends, default=0) :])


@dataclass(frozen=True)
class Blame:
    """The silences of a speech whose text arrived slowly."""

    system: Sequence[Gap]
    """The text was there before the listener ran dry."""
    text: Sequence[Gap]
    """The listener ran dry before the text was there."""
    answer_seconds: Sequence[float]
    """From when the missing text was there to its speech, for each of `text` and for the first piece."""


def letters(text: str) -> int:
    """Return how many letters and digits a text has: what is left of a whole speech is at most a mark or a space."""
    return sum(character.isalnum() for character in text)


async def speak_slowly(
    client: AsyncClient, text_pieces: Sequence[str], pauses: Sequence[float], setting: Setting, seed: int
) -> SlowSpeech:
    """Send pieces of a text with pauses before them and listen meanwhile.

    Raises:
        TtsError: The call fails.
    """
    speech = SlowSpeech(text="".join(text_pieces))

    async def written() -> AsyncIterator[str]:
        for piece, pause in zip(text_pieces, pauses, strict=True):
            await asyncio.sleep(pause)
            end = speech.arrivals[-1].end if speech.arrivals else 0
            speech.arrivals.append(Arrival(monotonic(), end + len(piece)))
            yield piece
        speech.text_ended = monotonic()

    async with client.stream_text(written(), **setting.options(seed)) as stream:
        async for audio in stream:
            _take(speech, audio)
    return speech


def _take(speech: SlowSpeech, audio: Audio) -> None:
    speech.pieces.append(Piece(monotonic(), audio.duration_seconds))
    speech.text_ends.append(audio.text_span.end)


def blame(speech: SlowSpeech) -> Blame:
    """Say of each silence whether the text or the system was late.

    A segment can be spoken when the character behind it has come, by which its end is known, or the text has ended.
    Pieces of a segment after its first one are the system's business alone.
    """
    system, missing, answers = [], [], []
    if speech.pieces:
        answers.append(speech.pieces[0].arrived - _known_at(speech, speech.text_ends[0]))
    for gap in playback.gaps(speech.pieces):
        known = _known_at(speech, speech.text_ends[gap.piece])
        if known <= gap.began:
            system.append(gap)
        else:
            missing.append(gap)
            answers.append(speech.pieces[gap.piece].arrived - known)
    return Blame(system, missing, answers)


def _known_at(speech: SlowSpeech, end: int) -> float:
    """When it was known that a segment ends at character `end` of the text."""
    return next((arrival.at for arrival in speech.arrivals if arrival.end > end), speech.text_ended)
