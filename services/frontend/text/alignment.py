"""Finds which of the written words each spoken one stands for, where a library rewrote a text.

wetext's `normalize_with_mapping` knows it exactly, at seventeen times the time (7 ms became 116 ms for
100 characters), and WeTextProcessing does not know it at all.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from difflib import SequenceMatcher

from services.frontend.text.spans import Span, SpannedText

# A placeholder, a word, a number with the marks inside it, or any other single character: an ideograph, a mark.
_TOKEN = re.compile(r"<\w+>|[A-Za-z\u00c0-\u024f]+|\d+(?:[.,:/]\d+)*|\S")
_WORD = re.compile(r"[^\W\d_]+")


def align(written: SpannedText, said: str, *, has_marks: bool = True) -> SpannedText:
    """Give `said` spans: exact where a word is as written, else the whole stretch that was rewritten.

    Without `has_marks` a mark alone is no anchor: where abbreviations are read away, the full stop of one
    would be taken for that of the sentence.
    """
    if said == written.text:
        return written
    old, new = _tokens(written.text), _tokens(said)
    parts: list[SpannedText] = []
    done_old = done_new = 0
    for i, j, size in _matches(written.text, old, said, new, has_marks=has_marks):
        for (start, end), (start_new, end_new) in zip(old[i : i + size], new[j : j + size], strict=True):
            parts.append(_rewritten(written, (done_old, start), said[done_new:start_new]))
            parts.append(written.cut(start, end))
            done_old, done_new = end, end_new
    parts.append(_rewritten(written, (done_old, len(written.text)), said[done_new:]))
    return SpannedText.join("", parts)


def has_lost_words(written: SpannedText, said: SpannedText) -> bool:
    """Whether a word of letters is written that nothing in `said` stands for."""
    for match in _WORD.finditer(written.text):
        start, end = written.span(*match.span())
        after = bisect_right(said.ends, start)
        if after == len(said.text) or said.starts[after] >= end:
            return True
    return False


def _tokens(text: str) -> list[Span]:
    return [match.span() for match in _TOKEN.finditer(text)]


def _matches(
    written: str, old: list[Span], said: str, new: list[Span], *, has_marks: bool
) -> list[tuple[int, int, int]]:
    # autojunk would ignore what is frequent in long texts: the commonest characters.
    matcher = SequenceMatcher(
        None if has_marks else _is_mark,
        [written[start:end] for start, end in old],
        [said[start:end] for start, end in new],
        autojunk=False,
    )
    return [(block.a, block.b, block.size) for block in matcher.get_matching_blocks()]


def _is_mark(token: str) -> bool:
    return not (token[0].isalnum() or token[0] == "<")


def _rewritten(written: SpannedText, gap: Span, said: str) -> SpannedText:
    part = written.cut(*gap)
    if part.text == said:
        return part
    core = part.text.strip()
    first = gap[0] + (part.text.index(core) if core else len(part.text))
    start, end = written.span(first, first + len(core))
    if not said.strip():
        end = start  # a space says no word
    return SpannedText(said, [start] * len(said), [end] * len(said))
