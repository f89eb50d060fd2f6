"""The text of models that read characters: one id for each, in the caller's own order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from services.frontend.text import (
    Encoded,
    Segment,
    Segmenter,
    SegmentPolicy,
    TextOptions,
    Token,
    check_text,
    is_speakable,
    scripts,
)
from services.frontend.text import options as checks
from services.frontend.text.glossary import Glossary
from services.frontend.text.known_tokens import unknown_warnings
from services.frontend.text.sentences import sentences
from services.frontend.text.spans import SpannedText

ALPHABET = " abcdefghijklmnopqrstuvwxyzäöüß0123456789.,;:!?'-"
VOCABULARY = len(ALPHABET)
NO_OPTIONS = TextOptions()
_MAX_UNKNOWN_SHARE = 0.5
_ID = {character: number for number, character in enumerate(ALPHABET)}


class CharacterText:
    """See `services.frontend.text.TextFrontend`. Sentences go one by one, however short.

    Args:
        languages: The model's.
        max_tokens: The model's limit for a segment.
    """

    rules: tuple[str, ...] = ("glossary", "lowercase")

    def __init__(self, languages: Iterable[str], *, max_tokens: int) -> None:
        self.languages = tuple(languages)
        self.max_tokens_limit = max_tokens
        self.default_policy = SegmentPolicy(max_tokens=max_tokens, merge_tokens=1, first_merge_tokens=1)
        self._script = scripts.Script(lambda letter: letter.lower() in _ID, self.languages, _MAX_UNKNOWN_SHARE)

    def check_options(self, options: TextOptions) -> None:
        checks.check_language(options.language, self.languages)
        checks.check_rules(options.disabled_rules, self.rules)
        checks.check_glossary(options.glossary)
        checks.check_max_tokens(options.max_tokens, self.max_tokens_limit)

    def check_text(
        self, text: str, options: TextOptions = NO_OPTIONS, *, policy: SegmentPolicy | None = None, field: str = "text"
    ) -> None:
        for start, end in sentences(text, (policy or self.default_policy).max_sentence_chars):
            self._script.check(text[start:end], field)
        if is_speakable(text):
            self._script.check_any(text, field)

    def detect(self, text: str) -> str:
        return scripts.detect(text, self.languages)

    def stream(self, options: TextOptions = NO_OPTIONS, *, policy: SegmentPolicy | None = None) -> Segmenter:
        self.check_options(options)
        policy = policy or self.default_policy
        policy = replace(policy, max_tokens=options.max_tokens or policy.max_tokens)
        return Segmenter(partial(self._encode, options=options), policy, self._script.check)

    def segments(
        self,
        text: str,
        options: TextOptions = NO_OPTIONS,
        *,
        policy: SegmentPolicy | None = None,
        max_chars: int = 20_000,
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        self.check_text(text, options, policy=policy)
        segmenter = self.stream(options, policy=policy)
        return [*segmenter.feed(text), *segmenter.end()]

    def whole_text_segments(
        self, text: str, options: TextOptions = NO_OPTIONS, *, quick_tokens: int = 0, max_chars: int = 20_000
    ) -> list[Segment]:
        """These models were published without a way of their own to cut a text."""
        return self.segments(text, options, max_chars=max_chars)

    def _encode(self, text: str, *, options: TextOptions) -> Encoded:
        spoken = SpannedText.of(text)
        if "glossary" not in options.disabled_rules:
            spoken = Glossary().before(options.glossary).apply(spoken, options.language)
        if "lowercase" not in options.disabled_rules:
            spoken = spoken.edit([(at, at + 1, character.lower()) for at, character in enumerate(spoken.text)])
        unknown = [at for at, character in enumerate(spoken.text) if character not in _ID]
        warnings = unknown_warnings(text, [spoken.span(at, at + 1) for at in unknown])
        known = spoken.without((at, at + 1) for at in unknown)
        tokens = (Token(_ID[piece], piece, *known.span(at, at + 1)) for at, piece in enumerate(known.text))
        return Encoded(tuple(tokens), known.text, options.language or self.detect(text), warnings)


def ids_of(text: str) -> list[int]:
    """The ids of a text without anything unknown in it."""
    return [_ID[character] for character in text.lower()]
