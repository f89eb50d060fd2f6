"""Hands a long text to the segmenter in slices, so that its first segments are spoken while the rest is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.frontend.pipeline import Utterance
from services.frontend.text import Segment, Segmenter

SLICE_CHARACTERS = 500
"""A slice holds a thread for up to a quarter of a second; the segments do not depend on it."""


async def feed(utterance: Utterance, segmenter: Segmenter, text: str) -> None:
    """Add a text's segments to an utterance as they are found; what has no end yet stays in the segmenter."""
    for start in range(0, len(text), SLICE_CHARACTERS):
        part = text[start : start + SLICE_CHARACTERS]
        await add_all(utterance, await asyncio.to_thread(segmenter.feed, part))


async def add_all(utterance: Utterance, segments: Sequence[Segment]) -> None:
    for segment in segments:
        await utterance.add(segment)
