"""Number reading without the faults of wetext 0.1.8, and without ever losing text.

Outside the parity switch only. Every rule here answers a fault seen in wetext 0.1.8; the tests
hold one case of each. Remove a rule when a newer wetext passes its case without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from services.frontend.text.alignment import align, has_lost_words
from services.frontend.text.backends import Backend
from services.frontend.text.spans import SpannedText

Read = Callable[[str], str]

_ESCAPED = re.compile(r'\\(["\\])')
_STOP_MARK = "<S>"  # passes through the FSTs unchanged, as the placeholders of §3.1 do

# Text of words alone: wetext returns it unchanged after 0.5 ms per character, or makes a Sunday of the Sun.
# A full stop may follow only a word that cannot be an abbreviation.
_WORDS_ONLY = re.compile(r"(?:<H>|[A-Za-z ,;!?'’‘“”()…-]|(?<=[a-z]{4})\.(?=[ '’”)]|$)|(?<=\b[Nn]o)\.(?=[ '’”)]|$))*")
_ABBREVIATIONS = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Jr|Sr)\b|\b(?:dept|inst|blvd|approx|sept|capt|comp|corp|prof|misc|assn|univ)\.",
    re.IGNORECASE,
)

_DECADE = re.compile(r"(?<![\w$£€¥.,])(1[1-9]|20)(\d)0['’]?s\b")
_CENTURIES = {
    11: "eleven",
    12: "twelve",
    13: "thirteen",
    14: "fourteen",
    15: "fifteen",
    16: "sixteen",
    17: "seventeen",
    18: "eighteen",
    19: "nineteen",
    20: "twenty",
}
_DECADES = ["hundreds", "tens", "twenties", "thirties", "forties"]
_DECADES += ["fifties", "sixties", "seventies", "eighties", "nineties"]
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# 1,000 to 1,999 with a comma, as money or with decimals is read "thousand ..", without its "one".
_ONE_THOUSAND = re.compile(r"(?<![\w.,])([$£€¥]?)1(,?)(\d{3})(?:\.(\d+))?(?![\w%]|[.,]\d)")
_CURRENCIES = {"$": " dollars", "£": " pounds", "€": " euros", "¥": " yen", "": ""}

_ENGLISH_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<![\w&])[#№]\s?(?=\d)"), "number "),  # "#1" raises
    (re.compile(r"\b(?:No|NO|no)\.\s?(?=\d)"), "number "),  # "No. 5" becomes "Number. five"
    (re.compile(r"(?<=\b[Nn]o|\bNO)\.(?!\w)"), _STOP_MARK),  # "No." becomes "number"
    (re.compile(r"(?<=\d)(?=[½⅓⅔¼¾⅛⅜⅝⅞])"), " "),  # "2½" raises
    (re.compile(r"(?<!\d\.)(?<=\d)\.(\d+)(?=[KMBGTkmb]\b)"), r".\1 "),  # "1.5M" becomes "one.five M"
    (re.compile(r"(?<!\w)[~≈]\s?(?=\d)"), "about "),  # "~5" becomes "approximatelyfive"
    (re.compile(r"(?<=\d)\s?[¢]"), " cents"),  # raises
    (re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)\s?\$(?!\s?\d)"), r"$\1"),  # "5$" raises
)
_VERSION = re.compile(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)(?!\.?\d)")  # "2.0.1" becomes "two.zero point one"
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")  # read as separate numbers in Chinese
_CHINESE_DECADE = re.compile(r"(?<!\d)((?:1[1-9]|20)\d0)s(?:年代)?")

_SENTENCES = re.compile(r"(?<=[.!?…])(?=\s)|(?<=[。！？；])")
_WORDS = re.compile(r"\s+|\S+")
_RUNS = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+|[\W_]+")


class MendedReader:
    """A backend with its faults mended; raises nothing and keeps every word."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def chinese(self, text: SpannedText) -> SpannedText:
        text = text.collapse().sub(_CHINESE_DECADE, r"\1年代")
        text = text.sub(_THOUSANDS, lambda match: match[0].replace(",", ""))
        return _read(text, self._backend.chinese)

    def english(self, text: SpannedText) -> SpannedText:
        text = text.collapse()
        if _WORDS_ONLY.fullmatch(text.text) and not _ABBREVIATIONS.search(text.text):
            return text
        text = text.sub(_DECADE, _read_decade)
        text = text.sub(_VERSION, r"\1 point \2 point \3")
        text = text.sub(_ONE_THOUSAND, _read_one_thousand)
        for pattern, replacement in _ENGLISH_RULES:
            text = text.sub(pattern, replacement)
        return _read(text, self._backend.english).replace(_STOP_MARK, ".")


class PublishedReader:
    """A backend as it was published with: whatever it raises, Chinese is lost and English stays."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def chinese(self, text: SpannedText) -> SpannedText:
        try:
            return align(text, self._backend.chinese(text.text))
        except Exception:  # noqa: BLE001 - published
            return text.cut(0, 0)

    def english(self, text: SpannedText) -> SpannedText:
        try:
            return align(text, self._backend.english(text.text))
        except Exception:  # noqa: BLE001 - published
            return text


def _read(text: SpannedText, read: Read) -> SpannedText:
    """Read as much at once as the backend takes: the text, else sentences, words, runs of digits."""
    whole = _try(text, read)
    if whole is not None:
        return whole
    sentences = _pieces(text, _SENTENCES)
    if len(sentences) > 1:
        return SpannedText.join("", [_read_core(sentence, read) for sentence in sentences])
    words = [text.cut(*match.span()) for match in _WORDS.finditer(text.text)]
    if len(words) > 1:
        return SpannedText.join("", [word if word.text.isspace() else _read(word, read) for word in words])
    return _read_runs(text, read)


def _try(text: SpannedText, read: Read) -> SpannedText | None:
    """What the backend says; None when it fails or loses words."""
    try:
        said = _ESCAPED.sub(r"\1", read(text.text))
    except Exception:  # noqa: BLE001 - backends assert on odd input; the text must not be lost for it
        return None
    if not said.strip():
        return None if text.text.strip() else text
    spoken = align(text, said)
    return None if has_lost_words(text, spoken) else spoken


def _pieces(text: SpannedText, border: re.Pattern[str]) -> list[SpannedText]:
    borders = [0, *(match.start() for match in border.finditer(text.text)), len(text.text)]
    return [text.cut(start, end) for start, end in pairwise(borders) if start < end]


def _read_core(text: SpannedText, read: Read) -> SpannedText:
    """Read without the white space at both ends, which backends strip."""
    core = text.strip()
    if not core.text:
        return text
    start = text.text.index(core.text)
    end = start + len(core.text)
    return SpannedText.join("", [text.cut(0, start), _read(core, read), text.cut(end, len(text.text))])


def _read_runs(word: SpannedText, read: Read) -> SpannedText:
    """Read the digits of a word that the backend refuses; the rest of it stays."""
    said = word.cut(0, 0)
    for match in _RUNS.finditer(word.text):
        run = word.cut(*match.span())
        reading = (_try(run, read) or run) if match[0][0].isdigit() else run
        needs_space = said.text[-1:].isalnum() and reading.text[:1].isalnum()
        said = SpannedText.join(" " if needs_space else "", [said, reading])
    return said


def _read_decade(match: re.Match[str]) -> str:
    century, decade = int(match[1]), int(match[2])
    if century == 20 and decade == 0:
        return "two thousands"
    return f"{_CENTURIES[century]} {_DECADES[decade]}"


def _read_one_thousand(match: re.Match[str]) -> str:
    currency, comma, rest, decimals = match.groups()
    if not (currency or comma or decimals):
        return match[0]  # a year
    said = "one thousand" + (f" {int(rest)}" if int(rest) else "")
    if decimals and int(decimals):
        said += " point " + " ".join(_DIGITS[int(digit)] for digit in decimals)
    return said + _CURRENCIES[currency]
