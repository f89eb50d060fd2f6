"""The text of IndexTTS2: Chinese and English words in SentencePiece pieces (§3)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial

from services.common.checkpoint import CheckpointConfig
from services.frontend.text import scripts
from services.frontend.text.backends import Backend
from services.frontend.text.base_frontend import BaseFrontend
from services.frontend.text.characters import would_be_spoken
from services.frontend.text.glossary import Glossary
from services.frontend.text.known_tokens import known_tokens, placed, unknown_warnings
from services.frontend.text.normalizer import TextNormalizer
from services.frontend.text.options import TextOptions, primary
from services.frontend.text.rules import Language
from services.frontend.text.segment import Encoded, TextWarning, Token
from services.frontend.text.sentences import sentences
from services.frontend.text.spans import SpannedText
from services.frontend.text.tokenizer import Tokenizer, pretokenize_spanned

_MAX_UNKNOWN_SHARE = 0.5
"""Rare ideographs and accents are left out of a sentence; what is mostly unknown is another language."""
_HAN = re.compile("[\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]")


class IndexTts2Frontend(BaseFrontend):
    """Sentences in Chinese are normalised as Chinese, those in English as English, also within one segment."""

    def __init__(self, config: CheckpointConfig, tokenizer: Tokenizer, backend: Backend, glossary: Glossary) -> None:
        self._is_upper = config.triptych.text.uppercase
        script = scripts.Script(self._reads, config.triptych.languages, _MAX_UNKNOWN_SHARE)
        super().__init__(config, tokenizer, glossary, script)
        self._mended = TextNormalizer(backend, glossary=glossary, is_known=self._knows)
        self._published = TextNormalizer(backend, glossary=glossary, mended=False)
        self.rules = self._mended.rules
        self._prepare = partial(pretokenize_spanned, uppercase=self._is_upper)

    def encode_published(self, text: str) -> Encoded:
        if len(text.strip()) <= 1:  # one character is tokenized as it stands
            return Encoded(tuple(self._tokenizer.tokens(text)) if text.strip() else (), text)
        spoken = self._published.normalize(text).spoken
        prepared = self._prepare(SpannedText.of(spoken.text))
        tokens = placed(self._tokenizer.tokens(prepared.text), prepared, spoken)
        known = known_tokens(self._tokenizer, spoken, self._prepare)
        return Encoded(tokens, known.spoken.text, warnings=self._unknown(text, tokens))

    def _unknown(self, text: str, tokens: Sequence[Token]) -> tuple[TextWarning, ...]:
        """The published way hands unknown tokens to the model, which makes no speech of them."""
        spans = [(token.start, token.end) for token in tokens if self._tokenizer.is_unknown(token.id)]
        return unknown_warnings(text, [span for span in spans if any(map(would_be_spoken, text[slice(*span)]))])

    def encode(self, text: str, options: TextOptions, glossary: Glossary) -> Encoded:
        language = options.language or scripts.detect(text, self.languages)
        spoken = SpannedText.join(" ", list(self._speak(text, options, glossary)))
        known = known_tokens(self._tokenizer, spoken, self._prepare)
        return Encoded(
            known.tokens, " ".join(known.spoken.text.split()), language, unknown_warnings(text, known.left_out)
        )

    def _speak(self, text: str, options: TextOptions, glossary: Glossary) -> Iterator[SpannedText]:
        """Normalise runs of sentences of one language."""
        for start, end, language in self._runs(text, options.language):
            run = SpannedText.of(text[start:end], start)
            default: Language = "en" if primary(language) == "en" else "zh"
            yield self._mended.normalize(run, default, glossary=glossary, disabled=options.disabled_rules).spoken

    def _runs(self, text: str, language: str) -> list[tuple[int, int, str]]:
        """Sentences in order, those of one language together; one without letters goes with the one before it."""
        if not (_HAN.search(text) and _LATIN.search(text)):
            return [(0, len(text), language or scripts.detect(text, self.languages))]
        runs: list[tuple[int, int, str]] = []
        for start, end in sentences(text, self.default_policy.max_sentence_chars):
            sentence = text[start:end]
            has_letters = scripts.has_letters(sentence)
            found = scripts.detect(sentence, self.languages) if has_letters or not runs else runs[-1][2]
            if runs and runs[-1][2] == found:
                runs[-1] = (runs[-1][0], end, found)
            else:
                runs.append((start, end, found))
        return runs

    def _reads(self, letter: str) -> bool:
        """Whether a letter, or the letter below its accent, has a token."""
        return self._knows(letter) or self._knows(unicodedata.normalize("NFKD", letter)[0])

    def _knows(self, character: str) -> bool:
        return self._tokenizer.knows(character.upper() if self._is_upper else character)
