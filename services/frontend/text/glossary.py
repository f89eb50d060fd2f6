"""Terms with a reading of their own (§3.3): of the request, and from `glossary.yaml` of the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import yaml

from services.common.checkpoint import CheckpointError
from services.frontend.text.characters import fold
from services.frontend.text.spans import SpannedText

Reading = str | Mapping[str, str]
"""How a term is said: in every language, or by language ("zh", "en")."""

# Letters and digits of scripts that put spaces between words: an ideograph is no part of a longer word.
_LETTER = "0-9A-Za-z\u00aa-\u02af\u0370-\u1fff"


class Glossary:
    """Replaces terms by their readings, whatever their case."""

    def __init__(self, terms: Mapping[str, Reading] | None = None, *, first: Iterable[tuple[str, str]] = ()) -> None:
        self._terms = _longest_first((terms or {}).items())
        self._first = _longest_first([(fold(SpannedText.of(term)).text, reading) for term, reading in first])

    def before(self, terms: Iterable[tuple[str, str]]) -> Glossary:
        """This glossary with terms that go before its own."""
        return Glossary(dict(self._terms), first=terms)

    def apply(self, text: SpannedText, language: str) -> SpannedText:
        """Read every term that stands as a whole word; a term without this language stays as it was written.

        Each place is read once: a reading is not looked through for further terms.
        """
        terms = self._readings(language)
        if not terms:
            return text
        pattern = _pattern(tuple(term for term, _ in terms))
        return text.sub(pattern, lambda match: terms[match.lastindex - 1][1] if match.lastindex else match[0])

    def apply_published(self, text: SpannedText, language: str) -> SpannedText:
        """Read every term, one after the other, inside longer words and earlier readings too."""
        for term, reading in self._terms:
            said = reading if isinstance(reading, str) else reading.get(language, term)
            # Not a template: a reading may hold a backslash.
            text = text.sub(re.compile(re.escape(term), re.IGNORECASE), said.replace("\\", r"\\"))
        return text

    def _readings(self, language: str) -> list[tuple[str, str]]:
        readings = [
            (term, reading if isinstance(reading, str) else reading.get(language))
            for term, reading in [*self._first, *self._terms]
        ]
        return [(term, reading) for term, reading in readings if reading is not None]


def _longest_first(terms: Iterable[tuple[str, Reading]]) -> list[tuple[str, Reading]]:
    return sorted(terms, key=lambda item: len(item[0]), reverse=True)


@lru_cache(maxsize=64)
def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    """One group for each term, so that the group that matched names it."""
    return re.compile("|".join(f"({_whole_word(term)})" for term in terms), re.IGNORECASE)


def _whole_word(term: str) -> str:
    before = f"(?<![{_LETTER}])" if re.match(f"[{_LETTER}]", term) else ""
    after = f"(?![{_LETTER}])" if re.search(f"[{_LETTER}]$", term) else ""
    return before + re.escape(term) + after


def load_glossary(path: Path) -> Glossary:
    """Read `glossary.yaml`; a file that does not exist is an empty glossary.

    Raises:
        CheckpointError: if it is no mapping of terms to a text or to texts by language.
    """
    if not path.is_file():
        return Glossary()
    try:
        terms = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: not YAML: {error}") from error
    if not isinstance(terms, dict):
        raise CheckpointError(f"{path}: expected a mapping of terms to readings")
    for term, reading in terms.items():
        by_language = isinstance(reading, dict) and all(
            key in ("zh", "en") and isinstance(value, str) for key, value in reading.items()
        )
        if not (isinstance(term, str) and term and (isinstance(reading, str) or by_language)):
            raise CheckpointError(f"{path}: term {term!r} needs a text, or a mapping of en and zh to texts")
    return Glossary(terms)
