"""Cuts an arriving text into segments that are a function of the text and the flush marks alone.

However a text is cut into messages, its segments are the same: every decision waits for the character
that it depends on, and time plays no part (design §4.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from services.frontend.text.validation import is_speakable

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
_CLAUSE_END = re.compile(r"[,;:，、；：—](?=\s)|[，、；：]|—")
_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD_END = re.compile(rf"\s+|(?<=[{_CJK}])(?=\S)|(?=[{_CJK}])")


@dataclass(frozen=True)
class Encoded:
    """Tokens of a piece of text."""

    token_ids: tuple[int, ...]
    num_unknown: int = 0
    """Tokens that the model has no piece for."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A piece of an utterance's text, small enough for the model."""

    index: int
    text: str
    """Slice `start:end` of the original text."""
    start: int
    """Offset in characters of the joined original text."""
    end: int
    token_ids: tuple[int, ...]
    num_unknown: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentPolicy:
    """How text becomes segments; part of the policy of an utterance, so never a matter of time."""

    max_tokens: int = 120
    """No segment has more."""
    merge_tokens: int = 20
    """A shorter group of sentences waits for the next sentence, the end or a flush."""
    first_merge_tokens: int = 6
    """The same for the first segment and the first after a flush, for which someone is waiting."""
    max_sentence_chars: int = 600
    """A sentence without an end is cut here, so that waiting text is bounded."""


@dataclass(frozen=True)
class _Group:
    """Sentences that may leave as one segment. Offsets into the buffer."""

    start: int
    end: int
    encoded: Encoded


class Segmenter:
    """The incremental machine: text and flush marks in, segments out. One per utterance; not thread-safe.

    Args:
        encode: Tokens of a piece of text; called for sentences, never for the whole text.
        policy: Limits and merging.
    """

    def __init__(self, encode: Callable[[str], Encoded], policy: SegmentPolicy) -> None:
        self._encode = encode
        self._policy = policy
        self._buffer = ""  # text from the first character that is in no segment yet
        self._base = 0  # offset of the buffer in the joined text
        self._sentence = 0  # where the sentence in work starts, in the buffer
        self._scan = 0  # no sentence ends before this
        self._group: _Group | None = None
        self._index = 0
        self._is_first = True

    @property
    def num_segments(self) -> int:
        return self._index

    @property
    def num_chars(self) -> int:
        """Characters taken so far."""
        return self._base + len(self._buffer)

    def feed(self, text: str) -> list[Segment]:
        """Add text; return the segments that are complete now.

        Blocks for up to half a millisecond per character that holds digits: feed a long text in slices.
        """
        self._buffer += text
        segments = list(self._advance(is_final=False))
        self._forget()
        return segments

    def flush(self) -> list[Segment]:
        """End the sentence in work, however short, and return all that waits."""
        segments = list(self._advance(is_final=True))
        segments += self._release()
        self._is_first = True
        self._forget()
        return segments

    def end(self) -> list[Segment]:
        """Return the rest. Nothing may be fed afterwards."""
        return self.flush()

    def _advance(self, *, is_final: bool) -> Iterator[Segment]:
        while (end := self._sentence_end(is_final)) is not None:
            start, self._sentence = self._sentence, end
            self._scan = end
            yield from self._add(start, end)

    def _sentence_end(self, is_final: bool) -> int | None:
        """Where the sentence in work ends; None if the text so far does not tell, or there is none."""
        while self._sentence < len(self._buffer) and self._buffer[self._sentence].isspace():
            self._sentence += 1
        start, self._scan = self._sentence, max(self._scan, self._sentence)
        limit = start + self._policy.max_sentence_chars
        while match := _STOP.search(self._buffer, self._scan, limit):
            after = _skip(self._buffer, match.start(), limit)
            if after == len(self._buffer) and not is_final:
                self._scan = match.start()
                return None
            if self._is_end(start, match.start(), after):
                return after
            self._scan = after
        if len(self._buffer) > limit:
            return start + _forced_end(self._buffer[start:limit])
        self._scan = len(self._buffer)
        return len(self._buffer) if is_final and start < len(self._buffer) else None

    def _is_end(self, start: int, mark: int, after: int) -> bool:
        run = self._buffer[mark:after]
        if run[0] == "\n":
            return "\n" in run[1:]
        if any(character in _CJK_MARKS for character in run):
            return True
        if not self._buffer[after : after + 1].isspace():
            return False
        before = self._buffer[max(start, mark - 12) : mark]
        is_list_number = mark - start <= 3 and _LIST_NUMBER.match(before)
        return not (run == "." and (is_list_number or _ABBREVIATION.search(before)))

    def _add(self, start: int, end: int) -> Iterator[Segment]:
        if self._group:
            joined = self._make_group(self._group.start, end)
            if len(joined.encoded.token_ids) <= self._policy.max_tokens:
                self._group = joined
            else:
                yield from self._release()
        if self._group is None:
            self._group = self._make_group(start, end)
        wanted = self._policy.first_merge_tokens if self._is_first else self._policy.merge_tokens
        if len(self._group.encoded.token_ids) >= min(wanted, self._policy.max_tokens):
            yield from self._release()

    def _make_group(self, start: int, end: int) -> _Group:
        start, end = _trim(self._buffer, start, end)
        return _Group(start, end, self._encode(self._buffer[start:end]))

    def _release(self) -> Iterator[Segment]:
        group, self._group = self._group, None
        if group is None:
            return
        for part in self._fit(group):
            text = self._buffer[part.start : part.end]
            if not (part.encoded.token_ids and is_speakable(text)):
                continue
            yield Segment(
                index=self._index,
                text=text,
                start=self._base + part.start,
                end=self._base + part.end,
                token_ids=part.encoded.token_ids,
                num_unknown=part.encoded.num_unknown,
                warnings=part.encoded.warnings,
            )
            self._index += 1
            self._is_first = False

    def _fit(self, group: _Group) -> Iterator[_Group]:
        """Cut a group into even parts at clauses, words or characters until each is within the limit."""
        num_tokens, limit = len(group.encoded.token_ids), self._policy.max_tokens
        if num_tokens <= limit:
            yield group
            return
        # A tenth more parts than needed: encoding is slow, and a part that is too long is encoded again.
        num_parts = max(2, math.ceil(1.1 * num_tokens / limit))
        cuts = _even_cuts(self._buffer[group.start : group.end], num_parts)
        if not cuts:
            yield from self._slice(group)
            return
        borders = [group.start, *(group.start + cut for cut in cuts), group.end]
        for start, end in pairwise(borders):
            yield from self._fit(self._make_group(start, end))

    def _slice(self, group: _Group) -> Iterator[_Group]:
        """Cut the tokens of a single character; its first part carries what is said about it."""
        ids, size = group.encoded.token_ids, self._policy.max_tokens
        for first in range(0, len(ids), size):
            said = group.encoded if first == 0 else Encoded(())
            part = Encoded(ids[first : first + size], said.num_unknown, said.warnings)
            yield _Group(group.start, group.end, part)

    def _forget(self) -> None:
        """Drop the text of segments that have left."""
        done = self._group.start if self._group else self._sentence
        self._buffer, self._base = self._buffer[done:], self._base + done
        self._sentence, self._scan = self._sentence - done, max(0, self._scan - done)
        if self._group:
            self._group = _Group(0, self._group.end - done, self._group.encoded)


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


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return end - len(part.lstrip()), start + len(part.rstrip())


def _forced_end(window: str) -> int:
    """Where to end a sentence that is too long: after a clause, else a word, in its second half."""
    half = len(window) // 2
    for pattern in (_CLAUSE_END, _WORD_END):
        ends = [match.end() for match in pattern.finditer(window, half) if match.end() > half]
        if ends:
            return ends[-1]
    return len(window)


def _even_cuts(text: str, num_parts: int) -> list[int]:
    """Cuts near the borders of `num_parts` equal parts, none of which is white space alone."""
    part = len(text) / num_parts
    clauses = [match.end() for match in _CLAUSE_END.finditer(text)]
    words = [match.end() for match in _WORD_END.finditer(text)]
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
