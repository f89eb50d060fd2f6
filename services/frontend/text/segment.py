"""What the text front ends make: tokens with their places in the caller's text, and segments of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

MAX_WARNINGS = 100
"""Of a segment, and of text that is in none; all others are counted."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model. Offsets in characters of the text that it was made of."""

    id: int
    piece: str
    """The model's own spelling."""
    start: int
    end: int
    """Of what the token stands for; all of a stretch that was rewritten, such as a number. Empty for a space alone."""

    def moved(self, offset: int) -> Token:
        return Token(self.id, self.piece, self.start + offset, self.end + offset)


class TextWarningReason(IntEnum):
    """Numbers of `tts.v1.TextWarningReason`."""

    UNKNOWN_CHARACTER = 1


@dataclass(frozen=True, slots=True)
class TextWarning:
    """Something that is not spoken as it was written. Never holds the text itself."""

    reason: TextWarningReason
    message: str
    start: int
    end: int
    count: int = 1
    """Of the warnings that this one stands for."""

    def moved(self, offset: int) -> TextWarning:
        return replace(self, start=self.start + offset, end=self.end + offset)


def bounded(warnings: Sequence[TextWarning]) -> tuple[TextWarning, ...]:
    """The first `MAX_WARNINGS`, then one that counts the others: warnings may not outgrow a message."""
    told, others = warnings[:MAX_WARNINGS], warnings[MAX_WARNINGS:]
    if not others:
        return tuple(told)
    count = sum(warning.count for warning in others)
    start, end = min(warning.start for warning in others), max(warning.end for warning in others)
    return (*told, TextWarning(others[0].reason, f"and {count} more", start, end, count))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of a piece of text; offsets into that piece."""

    tokens: tuple[Token, ...]
    normalized: str
    """What is spoken."""
    language: str = ""
    """BCP-47 tag."""
    warnings: tuple[TextWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an utterance's text, small enough for the model. Offsets into the joined original text."""

    index: int
    text: str
    """Slice `start:end` of the original text."""
    start: int
    end: int
    tokens: tuple[Token, ...]
    normalized: str = ""
    language: str = ""
    warnings: tuple[TextWarning, ...] = ()

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token.id for token in self.tokens)
