"""Single characters: the published punctuation map (§3.1 j), and folding of look-alikes."""

from __future__ import annotations

import re
import unicodedata

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

# Full-width digits and letters, Roman numerals, and mathematical letters and digits.
_LOOK_ALIKES = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u2160-\u217f\U0001d400-\U0001d7ff]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe0e\ufe0f\ufeff]")


def map_punctuation(text: str, language: str) -> str:
    """Reduce punctuation to what the published model was trained on."""
    if language == "zh":
        return _PATTERN_ZH.sub(lambda match: _MAP.get(match[0], "."), text)
    return _PATTERN.sub(lambda match: _MAP[match[0]], text)


def fold(text: str) -> str:
    """Turn look-alikes of digits and letters into the plain ones and drop invisible characters."""
    text = _LOOK_ALIKES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return _INVISIBLE.sub("", text)
