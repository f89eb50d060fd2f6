"""Where sentences end, in a text that may still be growing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.frontend.text.spans import Span

_CJK_MARKS = "。！？｡"
_MARKS = ".!?…" + _CJK_MARKS
_CLOSERS = "\"'”’»)]}」』）】》〉"
_STOP = re.compile(f"[{_MARKS}\n]")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:mr|mrs|ms|mx|dr|prof|st|mt|ft|rev|hon|gen|col|maj|capt|lt|sgt|sen|rep|gov|pres|messrs"
    r"|vs|cf|ca|approx|dept|fig|figs|vol|pp|ed|eds|est|viz|incl|jan|feb|mar|apr|aug|sept|oct|nov|dec"
    r"|(?:[a-z]\.)*[a-z])$",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"\s*\d{1,3}$")
CLAUSE_END = re.compile(r"[,;:，、；：—](?=\s)|[，、；：]|—")
_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD_END = re.compile(rf"\s+|(?<=[{_CJK}])(?=\S)|(?=[{_CJK}])")


def sentences(text: str, max_chars: int) -> Iterator[Span]:
    """The sentences of a whole text: those that a segmenter finds in it when nothing is flushed."""
    scanner = SentenceScanner(max_chars)
    start = skip_space(text, 0)
    while (end := scanner.end_of(text, start, is_final=True)) is not None:
        yield start, end
        start = skip_space(text, end)


def skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


class SentenceScanner:
    """Finds ends of sentences, and remembers how far it has looked.

    Args:
        max_chars: A sentence without an end is cut here.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._scan = 0  # no sentence ends before this

    def end_of(self, text: str, start: int, *, is_final: bool) -> int | None:
        """Where the sentence at `start` ends; None if the text so far does not tell, or there is none."""
        self._scan = max(self._scan, start)
        limit = start + self._max_chars
        while match := _STOP.search(text, self._scan, limit):
            after = _skip(text, match.start(), limit)
            if after == len(text) and not is_final:
                self._scan = match.start()
                return None
            self._scan = after
            if _is_end(text, start, match.start(), after):
                return after
        if len(text) > limit:
            self._scan = start + _forced_end(text[start:limit])
            return self._scan
        self._scan = len(text)
        return len(text) if is_final and start < len(text) else None

    def forget(self, num_chars: int) -> None:
        """The text loses its first characters."""
        self._scan = max(0, self._scan - num_chars)


def _is_end(text: str, start: int, mark: int, after: int) -> bool:
    run = text[mark:after]
    if run[0] == "\n":
        return "\n" in run[1:]
    if any(character in _CJK_MARKS for character in run):
        return True
    if not text[after : after + 1].isspace():
        return False
    before = text[max(start, mark - 12) : mark]
    is_list_number = mark - start <= 3 and _LIST_NUMBER.match(before)
    return not (run == "." and (is_list_number or _ABBREVIATION.search(before)))


def _skip(text: str, mark: int, limit: int) -> int:
    """First position after a run of marks with their closing quotes, or after a line's white space."""
    end = min(len(text), limit)
    position = mark + 1
    if text[mark] == "\n":
        while position < end and text[position].isspace():
            position += 1
    else:
        while position < end and text[position] in _MARKS + _CLOSERS:
            position += 1
    return position


def _forced_end(window: str) -> int:
    """Where to end a sentence that is too long: after a clause, else a word, in its second half."""
    half = len(window) // 2
    for pattern in (CLAUSE_END, WORD_END):
        ends = [match.end() for match in pattern.finditer(window, half) if match.end() > half]
        if ends:
            return ends[-1]
    return len(window)
