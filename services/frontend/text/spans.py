"""Text that remembers, character by character, which piece of the original each stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Start and end in the original text, in characters."""

Edit = tuple[int, int, str]
"""Start and end of a slice, and what replaces it."""

Replacement = str | Callable[[re.Match[str]], str]
"""A template as `re.sub` takes it, or what to say for a match."""


@dataclass(frozen=True, slots=True)
class SpannedText:
    """A text and, for each of its characters, the span of the original that it stands for.

    Starts and ends never fall. A character that was put in between two others has an empty span.
    Sequences are ranges until something is rewritten, so that text which needs nothing costs nothing.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str, offset: int = 0) -> SpannedText:
        """The original itself, or the slice of it that begins at `offset`."""
        last = offset + len(text)
        return cls(text, range(offset, last), range(offset + 1, last + 1))

    @classmethod
    def join(cls, separator: str, parts: Iterable[SpannedText]) -> SpannedText:
        """As `str.join`; separators have empty spans, save inside a stretch that was rewritten as a whole."""
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for part in parts:
            if texts and separator:
                start, end = _between(starts, ends, part)
                texts.append(separator)
                starts += [start] * len(separator)
                ends += [end] * len(separator)
            texts.append(part.text)
            starts += part.starts
            ends += part.ends
        return cls("".join(texts), starts, ends)

    def span(self, start: int, end: int) -> Span:
        """The original behind characters `start:end`; for none, the point between their neighbours."""
        if start < end:
            return self.starts[start], self.ends[end - 1]
        if not self.text:
            return 0, 0
        if start == 0:
            return self.starts[0], self.starts[0]
        if start == len(self.text):
            return self.ends[-1], self.ends[-1]
        before, after = self.ends[start - 1], self.starts[start]
        # Inside a stretch that was rewritten as a whole there is no point: the whole it is.
        return (before, before) if before <= after else (self.starts[start - 1], self.ends[start])

    def cut(self, start: int, end: int) -> SpannedText:
        if start == 0 and end >= len(self.text):
            return self
        return SpannedText(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def strip(self) -> SpannedText:
        return self.rstrip().cut(len(self.text) - len(self.text.lstrip()), len(self.text))

    def rstrip(self) -> SpannedText:
        return self.cut(0, len(self.text.rstrip()))

    def collapse(self) -> SpannedText:
        """Make every run of white space one space, with none at the ends."""
        if self.text == " ".join(self.text.split()):
            return self
        return self.strip().sub(_WHITE, " ")

    def sub(self, pattern: re.Pattern[str], replacement: Replacement) -> SpannedText:
        """As `re.sub`."""
        edits = [(*match.span(), _said(match, replacement)) for match in pattern.finditer(self.text)]
        return self.edit(edits)

    def replace(self, old: str, new: str) -> SpannedText:
        """As `str.replace`; what has as many characters as it stands for stands for them one by one.

        So what was hidden behind a placeholder and comes back is exact again.
        """
        if old not in self.text:
            return self
        edits = [(*match.span(), new) for match in re.finditer(re.escape(old), self.text)]
        return self.edit(edits, is_one_by_one=True)

    def without(self, spans: Iterable[Span]) -> SpannedText:
        """Leave out characters; the spans are of this text, in order."""
        return self.edit([(start, end, "") for start, end in spans])

    def upper(self) -> SpannedText:
        upper = self.text.upper()
        if len(upper) == len(self.text):
            return SpannedText(upper, self.starts, self.ends)
        return self.edit([(i, i + 1, character.upper()) for i, character in enumerate(self.text)])

    def edit(self, edits: Sequence[Edit], *, is_one_by_one: bool = False) -> SpannedText:
        """Replace slices of this text, given in order.

        What replaces a slice stands for all that the slice stood for, unless `is_one_by_one` and there are as
        many characters as that.
        """
        if not edits:
            return self
        texts: list[str] = []
        done = 0
        for first, last, said in edits:
            texts += (self.text[done:first], said)
            done = last
        text = "".join((*texts, self.text[done:]))
        if all(last - first == 1 == len(said) for first, last, said in edits):
            return SpannedText(text, self.starts, self.ends)
        return SpannedText(text, *self._edited_spans(edits, is_one_by_one))

    def _edited_spans(self, edits: Sequence[Edit], is_one_by_one: bool) -> tuple[list[int], list[int]]:
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for first, last, said in edits:
            new_starts, new_ends = self._stand_in(first, last, len(said), is_one_by_one)
            starts += (*self.starts[done:first], *new_starts)
            ends += (*self.ends[done:first], *new_ends)
            done = last
        return [*starts, *self.starts[done:]], [*ends, *self.ends[done:]]

    def _stand_in(self, first: int, last: int, size: int, is_one_by_one: bool) -> tuple[Sequence[int], Sequence[int]]:
        """Spans of `size` characters in the place of a slice."""
        start, end = self.span(first, last)
        is_alone = (not first or self.ends[first - 1] <= start) and (last == len(self.text) or self.starts[last] >= end)
        if is_one_by_one and end - start == size and is_alone:
            return range(start, end), range(start + 1, end + 1)
        return [start] * size, [end] * size


_WHITE = re.compile(r"\s+")


def _between(starts: list[int], ends: list[int], following: SpannedText) -> Span:
    """The span of something that is put in before `following`."""
    if not ends:
        return 0, 0
    is_point = following.text and ends[-1] <= following.starts[0]
    return ends[-1] if is_point else starts[-1], ends[-1]


def _said(match: re.Match[str], replacement: Replacement) -> str:
    if not isinstance(replacement, str):
        return replacement(match)
    return match.expand(replacement) if "\\" in replacement else replacement
