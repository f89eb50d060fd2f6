"""Cuts an arriving text into segments that are a function of the text and the flush marks alone.

However a text is cut into messages, its segments are the same: every decision waits for the character
that it depends on, and time plays no part (design §4.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from services.frontend.text.cuts import even_cuts
from services.frontend.text.segment import Encoded, Segment, TextWarning, bounded
from services.frontend.text.sentences import SentenceScanner, skip_space
from services.frontend.text.validation import is_speakable

Encode = Callable[[str], Encoded]


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


def _accept(sentence: str) -> None:
    """Every sentence can be spoken."""


class Segmenter:
    """The incremental machine: text and flush marks in, segments out. One per utterance; not thread-safe.

    Args:
        encode: Tokens of a piece of text; called for sentences, never for the whole text.
        policy: Limits and merging.
        check: Raises for a sentence that cannot be spoken.
    """

    def __init__(self, encode: Encode, policy: SegmentPolicy, check: Callable[[str], None] = _accept) -> None:
        self._encode = encode
        self._policy = policy
        self._check = check
        self._scanner = SentenceScanner(policy.max_sentence_chars)
        self._buffer = ""  # text from the first character that is in no segment yet
        self._base = 0  # offset of the buffer in the joined text
        self._sentence = 0  # where the sentence in work starts, in the buffer
        self._group: _Group | None = None
        self._warnings: tuple[TextWarning, ...] = ()
        self._index = 0
        self._is_first = True

    @property
    def num_segments(self) -> int:
        return self._index

    @property
    def num_chars(self) -> int:
        """Characters taken so far."""
        return self._base + len(self._buffer)

    @property
    def warnings(self) -> tuple[TextWarning, ...]:
        """Of text that made no segment; the next segment takes them along."""
        return self._warnings

    def feed(self, text: str) -> list[Segment]:
        """Add text; return the segments that are complete now.

        Blocks for up to half a millisecond per character that holds digits: feed a long text in slices.

        Raises:
            InvalidRequestError: if a sentence is in a script that the model does not speak.
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
            self._check(self._buffer[start:end])
            yield from self._add(start, end)

    def _sentence_end(self, is_final: bool) -> int | None:
        self._sentence = skip_space(self._buffer, self._sentence)
        return self._scanner.end_of(self._buffer, self._sentence, is_final=is_final)

    def _add(self, start: int, end: int) -> Iterator[Segment]:
        if self._group:
            joined = self._make_group(self._group.start, end)
            if len(joined.encoded.tokens) <= self._policy.max_tokens:
                self._group = joined
            else:
                yield from self._release()
        if self._group is None:
            self._group = self._make_group(start, end)
        wanted = self._policy.first_merge_tokens if self._is_first else self._policy.merge_tokens
        if len(self._group.encoded.tokens) >= min(wanted, self._policy.max_tokens):
            yield from self._release()

    def _make_group(self, start: int, end: int) -> _Group:
        start, end = _trim(self._buffer, start, end)
        return _Group(start, end, self._encode(self._buffer[start:end]))

    def _release(self) -> Iterator[Segment]:
        group, self._group = self._group, None
        if group is None:
            return
        for part in self._fit(group):
            offset = self._base + part.start
            moved = [warning.moved(offset) for warning in part.encoded.warnings]
            self._warnings = bounded([*self._warnings, *moved])
            text = self._buffer[part.start : part.end]
            if part.encoded.tokens and is_speakable(text) and is_speakable(part.encoded.normalized):
                yield self._make_segment(part, text, offset)

    def _make_segment(self, part: _Group, text: str, offset: int) -> Segment:
        segment = Segment(
            index=self._index,
            text=text,
            start=offset,
            end=self._base + part.end,
            tokens=tuple(token.moved(offset) for token in part.encoded.tokens),
            normalized=part.encoded.normalized,
            language=part.encoded.language,
            warnings=self._warnings,
        )
        self._warnings = ()
        self._index += 1
        self._is_first = False
        return segment

    def _fit(self, group: _Group) -> Iterator[_Group]:
        """Cut a group into even parts at clauses, words or characters until each is within the limit."""
        num_tokens, limit = len(group.encoded.tokens), self._policy.max_tokens
        if num_tokens <= limit:
            yield group
            return
        # A tenth more parts than needed: encoding is slow, and a part that is too long is encoded again.
        num_parts = max(2, math.ceil(1.1 * num_tokens / limit))
        cuts = even_cuts(self._buffer[group.start : group.end], num_parts)
        if not cuts:
            yield from self._slice(group)
            return
        borders = [group.start, *(group.start + cut for cut in cuts), group.end]
        for start, end in pairwise(borders):
            yield from self._fit(self._make_group(start, end))

    def _slice(self, group: _Group) -> Iterator[_Group]:
        """Cut the tokens of a single character; its first part carries what is said about it."""
        tokens, size = group.encoded.tokens, self._policy.max_tokens
        for first in range(0, len(tokens), size):
            warnings = group.encoded.warnings if first == 0 else ()
            part = replace(group.encoded, tokens=tokens[first : first + size], warnings=warnings)
            yield _Group(group.start, group.end, part)

    def _forget(self) -> None:
        """Drop the text of segments that have left."""
        done = self._group.start if self._group else self._sentence
        self._buffer, self._base = self._buffer[done:], self._base + done
        self._sentence -= done
        self._scanner.forget(done)
        if self._group:
            self._group = _Group(0, self._group.end - done, self._group.encoded)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return end - len(part.lstrip()), start + len(part.rstrip())
