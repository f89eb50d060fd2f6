"""Hides what number reading must leave alone (§3.1 a, e, f, g) and puts it back."""

from __future__ import annotations

import re
from collections.abc import Callable

from services.frontend.text.spans import SpannedText

ANNOTATION = re.compile(r"<([^|>\n]+)\|([^>\n]+)>")
TECH_TERM = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+")
PINYIN = re.compile(
    r"(?<![a-z])((?:[bpmfdtnlgkhjqxzcsryw]|[zcs]h)?(?:[aeiouüv]|[ae]i|u[aio]|ao|ou|i[aue]|[uüv]e"
    r"|[uvü]ang?|uai|[aeiuv]n|[aeio]ng|ia[no]|i[ao]ng)|ng|er)([1-5])",
    re.IGNORECASE,
)
NAME = re.compile(r"[一-鿿]+(?:[-·—][一-鿿]+){1,2}")

_HYPHEN = "<H>"
_HYPHEN_AND_SPACE = re.compile(r"\s*<H>\s*")
_PINYIN_U = re.compile(r"([jqx])[uü](n|e|an)*(\d)", re.IGNORECASE)


def letters(index: int) -> str:
    """Number from 0 in letters: a, b, .., z, aa, ab, .."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(ord("a") + digit) + name
    return name


class Placeholders:
    """Distinct matches of one pattern, each behind a placeholder until `restore`."""

    def __init__(self, template: str) -> None:
        self._template = template  # with {} for the letters
        self._originals: dict[str, str] = {}

    def hide(self, pattern: re.Pattern[str], text: SpannedText) -> SpannedText:
        for original in _longest_first(pattern, text.text):
            placeholder = self._template.format(letters(len(self._originals)))
            self._originals[placeholder] = original
            text = text.replace(original, placeholder)
        return text

    def restore(self, text: SpannedText, reading: Callable[[str], str] = str) -> SpannedText:
        for placeholder, original in self._originals.items():
            text = text.replace(placeholder, reading(original))
        return text

    def all_in(self, text: str) -> bool:
        return all(placeholder in text for placeholder in self._originals)


def hide_hyphens(text: SpannedText) -> SpannedText:
    """Mark the hyphens of technical terms, so that `F5-TTS` is not read as a subtraction."""
    for term in _longest_first(TECH_TERM, text.text):
        hyphens = [index for index, character in enumerate(term) if character == "-"]
        starts = [match.start() for match in re.finditer(re.escape(term), text.text)]
        text = text.edit([(start + index, start + index + 1, _HYPHEN) for start in starts for index in hyphens])
    return text


def restore_hyphens(text: SpannedText) -> SpannedText:
    return text.sub(_HYPHEN_AND_SPACE, "-")


def correct_pinyin(syllable: str) -> str:
    """Spell the ü of a j, q or x syllable as the vocabulary does: xuan4 is XVAN4."""
    if syllable[0] not in "jqxJQX":
        return syllable
    return _PINYIN_U.sub(r"\1v\2\3", syllable).upper()


def _longest_first(pattern: re.Pattern[str], text: str) -> list[str]:
    # A match may be part of another one; equal lengths keep their order of appearance.
    return sorted(dict.fromkeys(match[0] for match in pattern.finditer(text)), key=len, reverse=True)
