"""Single characters: the published punctuation map (§3.1 j), and folding of look-alikes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from services.frontend.text.spans import SpannedText

KnowsCharacter = Callable[[str], bool]

_QUOTES = '“”"‘’（）()《》【】[]「」'
_MAP = {
    "：": ",",
    "；": ",",
    ";": ",",
    "，": ",",
    "。": ".",
    "！": "!",
    "？": "?",
    "\n": " ",
    "·": "-",
    "、": ",",
    ":": ",",
    "...": "…",
    ",,,": "…",
    "，，，": "…",
    "……": "…",
    "—": "-",
    "～": "-",
    "~": "-",
    **dict.fromkeys(_QUOTES, "'"),
}
# Alternatives are tried in this order, so a run of full-width commas goes character by character.
_PATTERN = re.compile("|".join(map(re.escape, _MAP)))
_PATTERN_ZH = re.compile("|".join(map(re.escape, [*_MAP, "$"])))

# Full-width digits and letters, Roman numerals, mathematical letters and digits, letters with their accents apart.
_LOOK_ALIKES = re.compile(
    "[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u2160-\u217f\U0001d400-\U0001d7ff]|[A-Za-z][\u0300-\u036f]+"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe0e\ufe0f\ufeff]")
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")


def map_punctuation(text: SpannedText, language: str) -> SpannedText:
    """Reduce punctuation to what the published model was trained on."""
    if language == "zh":
        return text.sub(_PATTERN_ZH, lambda match: _MAP.get(match[0], "."))
    return text.sub(_PATTERN, lambda match: _MAP[match[0]])


def fold(text: SpannedText) -> SpannedText:
    """Turn look-alikes of digits and letters into the plain ones and drop invisible characters."""
    if text.text.isascii():
        return text
    text = text.sub(_LOOK_ALIKES, lambda match: unicodedata.normalize("NFKC", match[0]))
    return text.sub(_INVISIBLE, "")


def without_accents(text: SpannedText, is_known: KnowsCharacter) -> SpannedText:
    """Read an accented letter that the model does not know as the letter below the accent, if it knows that."""
    if text.text.isascii():
        return text
    return text.sub(_ACCENTED, lambda match: match[0] if is_known(match[0]) else _base(match[0], is_known))


def _base(letter: str, is_known: KnowsCharacter) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    return base if is_known(base) else letter


def would_be_spoken(character: str) -> bool:
    """Whether somebody who reads aloud would say something for it: letters, numbers, symbols and pictures."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category in ("Sc", "Sm", "So")
