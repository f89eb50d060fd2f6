"""The published splitting of a whole text's pieces into segments (§3.4), bugs included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_CLAUSE_ENDS = {",", "▁,", "-"}
_SENTENCE_ENDS = {".", "!", "?", "▁.", "▁?", "▁..."}  # "▁!" and "…" are not among them
_QUOTES = {"'", "▁'"}


def split_pieces(pieces: Sequence[str], max_tokens: int, quick_tokens: int = 0) -> list[list[str]]:
    """Split into segments of at most `max_tokens` pieces.

    A quote after a sentence mark ends the segment and begins the next one as well, as published; such a
    segment may have one piece more than `max_tokens`.

    Args:
        pieces: SentencePiece pieces of the whole text.
        max_tokens: Most pieces of a segment.
        quick_tokens: The first so many pieces are merged only up to half of `max_tokens`.
    """
    return _merge(_cut(pieces, max_tokens), max_tokens, quick_tokens)


def _cut(pieces: Sequence[str], max_tokens: int) -> list[list[str]]:
    parts: list[list[str]] = []
    current: list[str] = []
    for piece, following in pairwise([*pieces, ""]):
        current.append(piece)
        if len(current) > max_tokens:
            parts += [current[i : i + max_tokens] for i in range(0, len(current), max_tokens)]
        elif piece in _CLAUSE_ENDS:
            parts.append(current)
        elif piece in _SENTENCE_ENDS and len(current) > 2:
            parts.append([*current, following] if following in _QUOTES else current)
        else:
            continue
        current = []
    return [*parts, current] if current else parts


def _merge(parts: list[list[str]], max_tokens: int, quick_tokens: int) -> list[list[str]]:
    merged: list[list[str]] = []
    num_tokens = 0
    for part in parts:
        num_tokens += len(part)
        together = len(merged[-1]) + len(part) if merged else max_tokens + 1
        is_past_quick = together <= max_tokens and num_tokens > quick_tokens
        if is_past_quick or together <= max_tokens / 2:
            merged[-1] = merged[-1] + part
        else:
            merged.append(part)
    return merged
