"""The published splitting of a whole text's pieces into segments (§3.4), bugs included."""

from __future__ import annotations

from collections.abc import Sequence

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
    return [[pieces[index] for index in part] for part in split_indices(pieces, max_tokens, quick_tokens)]


def split_indices(pieces: Sequence[str], max_tokens: int, quick_tokens: int = 0) -> list[list[int]]:
    """Return, for each segment of `split_pieces`, the indices of its pieces."""
    return _merge(_cut(pieces, max_tokens), max_tokens, quick_tokens)


def _cut(pieces: Sequence[str], max_tokens: int) -> list[list[int]]:
    parts: list[list[int]] = []
    current: list[int] = []
    for index, piece in enumerate(pieces):
        current.append(index)
        if len(current) > max_tokens:
            parts += [current[i : i + max_tokens] for i in range(0, len(current), max_tokens)]
        elif piece in _CLAUSE_ENDS:
            parts.append(current)
        elif piece in _SENTENCE_ENDS and len(current) > 2:
            is_quote_next = index + 1 < len(pieces) and pieces[index + 1] in _QUOTES
            parts.append([*current, index + 1] if is_quote_next else current)
        else:
            continue
        current = []
    return [*parts, current] if current else parts


def _merge(parts: list[list[int]], max_tokens: int, quick_tokens: int) -> list[list[int]]:
    merged: list[list[int]] = []
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
