"""What a listener hears who plays each piece as soon as it is there: no pre-buffer, and a gap wherever one is late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """A run of samples as it arrived."""

    arrived: float
    """Seconds, on the clock of all pieces of a speech."""
    seconds: float
    """How long it sounds."""


class Gap(NamedTuple):
    """An underrun: silence that nobody asked for."""

    piece: int
    """Index of the piece that was late."""
    began: float
    """When the listener ran dry."""
    seconds: float


def starts(pieces: Sequence[Piece]) -> Iterator[float]:
    """Yield when each piece begins to sound: as it arrives, or when the one before has ended."""
    end = float("-inf")
    for piece in pieces:
        start = max(piece.arrived, end)
        yield start
        end = start + piece.seconds


def gaps(pieces: Sequence[Piece]) -> list[Gap]:
    """Return the underruns of one speech. Pieces without sound are late for nobody."""
    found = []
    end: float | None = None
    for index, (piece, start) in enumerate(zip(pieces, starts(pieces), strict=True)):
        if piece.seconds <= 0:
            continue
        if end is not None and start > end:
            found.append(Gap(index, end, start - end))
        end = start + piece.seconds
    return found


def ends(pieces: Sequence[Piece]) -> float:
    """Return when the last sound has been played.

    Raises:
        ValueError: if there is no piece.
    """
    if not pieces:
        raise ValueError("nothing arrived")
    return max(start + piece.seconds for start, piece in zip(starts(pieces), pieces, strict=True))


def heard_at(pieces: Sequence[Piece], offset_seconds: float) -> float | None:
    """Return when the sound at `offset_seconds` of the speech is heard; None when it never came."""
    before = 0.0
    for start, piece in zip(starts(pieces), pieces, strict=True):
        if before <= offset_seconds < before + piece.seconds:
            return start + offset_seconds - before
        before += piece.seconds
    return None


def slacks(pieces: Sequence[Piece]) -> list[float]:
    """Return how many seconds before it was needed each piece came: 0 for the first, negative for one that was late."""
    found = []
    end: float | None = None
    for piece, start in zip(pieces, starts(pieces), strict=True):
        found.append(end - piece.arrived if end is not None else 0.0)
        end = start + piece.seconds
    return found
