"""Hands a long text to the segmenter in slices, so that its first segments are spoken while the rest is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.speaking.laps import Laps
from services.frontend.text import Segment, Segmenter

SLICE_CHARACTERS = 500
"""A slice holds a thread for up to a quarter of a second; the segments do not depend on it."""


def slices(text: str) -> Iterator[str]:
    """A text in parts, one job for a thread each: others get their turn between them."""
    for start in range(0, len(text), SLICE_CHARACTERS):
        yield text[start : start + SLICE_CHARACTERS]


async def feed(utterance: Laps, segmenter: Segmenter, text: str) -> None:
    """Add a text's segments to an utterance as they are found; what has no end yet stays in the segmenter."""
    for part in slices(text):
        utterance.num_characters += len(part)
        await add_all(utterance, await asyncio.to_thread(segmenter.feed, part))


async def finish(utterance: Laps, segmenter: Segmenter) -> None:
    """Add what is left of a text that has ended.

    Raises:
        InvalidRequestError: Nothing of the text can be spoken.
    """
    await add_all(utterance, await asyncio.to_thread(segmenter.end))
    if not segmenter.num_segments:
        raise nothing_to_speak()
    utterance.warnings = segmenter.warnings
    utterance.end_text()


async def add_all(utterance: Laps, segments: Sequence[Segment]) -> None:
    for segment in segments:
        await utterance.add(segment)


def nothing_to_speak() -> InvalidRequestError:
    return InvalidRequestError(
        "text has nothing that this model can speak", field="text", reason=Reason.TEXT_NOT_SPEAKABLE
    )
