"""Written text to spoken words, in the published order of steps (§3.1 a to j)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from services.frontend.text import characters, protect
from services.frontend.text.backends import Backend
from services.frontend.text.glossary import Glossary
from services.frontend.text.mending import MendedBackend

Language = Literal["zh", "en"]
"""Which way a text is normalised; not what it is written in."""

_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-zA-Z]")
_EMAIL = re.compile(r"^[a-zA-Z0-9]+@[a-zA-Z0-9]+\.[a-zA-Z]+$")
_WORDS_IS = r"what|where|who|which|how|t?here|it|s?he|that|this"
_CONTRACTION = re.compile(rf"({_WORDS_IS})'s", re.IGNORECASE)
_MENDED_CONTRACTION = re.compile(rf"\b({_WORDS_IS})['’]s\b", re.IGNORECASE)


@dataclass(frozen=True)
class NormText:
    """What is spoken. Spans of the original text will be added here."""

    text: str
    language: Language


class TextNormalizer:
    """Normalises as published; outside parity its faults are mended and no text is lost.

    Args:
        backend: Reads numbers, dates and units.
        glossary: Terms with a reading of their own.
        mended: False is the parity switch: the published behaviour, faults included.
    """

    def __init__(self, backend: Backend, *, glossary: Glossary | None = None, mended: bool = True) -> None:
        self._backend: Backend = MendedBackend(backend) if mended else backend
        self._glossary = glossary or Glossary()
        self._mended = mended

    def normalize(self, text: str, default_language: Language = "zh") -> NormText:
        """Return what is spoken.

        Args:
            text: Written text, of any length.
            default_language: How a text of digits and marks alone is read; parity reads it in Chinese.
        """
        if self._mended:
            text = characters.fold(text)
        annotations = protect.Placeholders("PRONPLACEHOLDER{}PRONPLACEHOLDER")
        text = annotations.hide(protect.ANNOTATION, text)
        language = choose_language(text)
        if self._mended and not (_HAN.search(text) or _LATIN.search(text)):
            language = default_language
        said = self._say(text.rstrip() if language == "zh" else text, language, annotations)
        return NormText(annotations.restore(characters.map_punctuation(said, language)), language)

    def _say(self, text: str, language: Language, annotations: protect.Placeholders) -> str:
        contraction = _MENDED_CONTRACTION if self._mended else _CONTRACTION
        text = contraction.sub(r"\1 is", text)
        text = self._glossary.apply(text, language, is_whole_word=self._mended)
        text = protect.hide_hyphens(text)
        pinyin, names = protect.Placeholders("<pinyin_{}>"), protect.Placeholders("<n_{}>")
        if language == "zh":
            text = names.hide(protect.NAME, pinyin.hide(protect.PINYIN, text))
        said = self._read(text, language)
        hidden = (annotations, pinyin, names)
        if self._mended and not all(placeholders.all_in(said) for placeholders in hidden):
            said = text
        said = pinyin.restore(names.restore(said), protect.correct_pinyin)
        return protect.restore_hyphens(said)

    def _read(self, text: str, language: Language) -> str:
        try:
            return self._backend.chinese(text) if language == "zh" else self._backend.english(text)
        except Exception:  # noqa: BLE001 - published: whatever the backend raises, Chinese is lost, English stays
            return "" if language == "zh" and not self._mended else text


def choose_language(text: str) -> Language:
    """Return "en" for a text in Latin letters without Chinese characters or pinyin, else "zh"."""
    is_chinese = _HAN.search(text) or not _LATIN.search(text) or _EMAIL.match(text) or protect.PINYIN.search(text)
    return "zh" if is_chinese else "en"
