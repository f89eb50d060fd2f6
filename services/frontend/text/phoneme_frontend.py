"""The text of models that were trained on English phonemes: one token per character."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from services.common.checkpoint import CheckpointConfig
from services.frontend.text import scripts
from services.frontend.text.base_frontend import DEFAULTS, BaseFrontend
from services.frontend.text.glossary import Glossary
from services.frontend.text.known_tokens import known_tokens, unknown_warnings
from services.frontend.text.options import TextOptions
from services.frontend.text.phonemes import EnglishG2p, Phonemes, is_foreign
from services.frontend.text.segment import Encoded
from services.frontend.text.spans import Span, SpannedText
from services.frontend.text.tokenizer import Tokenizer

_MAX_FOREIGN_SHARE = 0.2


class PhonemeFrontend(BaseFrontend):
    """A phoneme's span is its word."""

    def __init__(self, config: CheckpointConfig, tokenizer: Tokenizer, g2p: EnglishG2p, glossary: Glossary) -> None:
        script = scripts.Script(lambda letter: not is_foreign(letter), config.triptych.languages, _MAX_FOREIGN_SHARE)
        super().__init__(config, tokenizer, glossary, script)
        # Twice the tokens of a word-piece model say about as much.
        self.default_policy = replace(self.default_policy, merge_tokens=40, first_merge_tokens=12)
        self.rules = g2p.rules
        self._g2p = g2p

    def encode_published(self, text: str) -> Encoded:
        return self.encode(text, DEFAULTS, self._glossary)

    def encode(self, text: str, options: TextOptions, glossary: Glossary) -> Encoded:
        phonemes = self._g2p.read(SpannedText.of(text), glossary=glossary, disabled=options.disabled_rules)
        known = known_tokens(self._tokenizer, phonemes.spoken, lambda spoken: spoken)
        warnings = unknown_warnings(text, [*phonemes.unread, *known.left_out])
        language = options.language or scripts.detect(text, self.languages)
        return Encoded(known.tokens, _said(phonemes), language, warnings)


def _said(phonemes: Phonemes) -> str:
    """The words without those that have no sound; marks and spaces stay."""
    text, unread = phonemes.respelled, phonemes.unread
    silent = [index for index in range(len(text.text)) if _is_within(text.span(index, index + 1), unread)]
    kept = text.without((index, index + 1) for index in silent if unicodedata.category(text.text[index])[0] not in "PZ")
    return kept.collapse().text


def _is_within(span: Span, others: Sequence[Span]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)
