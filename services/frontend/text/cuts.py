"""Cuts a piece of text that is too long for one segment into even parts."""

from __future__ import annotations

from services.frontend.text.sentences import CLAUSE_END, WORD_END


def even_cuts(text: str, num_parts: int) -> list[int]:
    """Cuts near the borders of `num_parts` equal parts, none of which is white space alone."""
    part = len(text) / num_parts
    clauses = [match.end() for match in CLAUSE_END.finditer(text)]
    words = [match.end() for match in WORD_END.finditer(text)]
    cuts = [_nearest(clauses, words, part * index, part / 2) for index in range(1, num_parts)]
    return [
        cut for cut, before in zip(cuts, [0, *cuts], strict=False) if text[before:cut].strip() and text[cut:].strip()
    ]


def _nearest(clauses: list[int], words: list[int], target: float, reach: float) -> int:
    """The clause end within half of `reach`, else the word end within it, nearest to target; else target."""
    for ends, distance in ((clauses, reach / 2), (words, reach)):
        near = [end for end in ends if abs(end - target) <= distance]
        if near:
            return min(near, key=lambda end: abs(end - target))
    return int(target)
