"""Terms with a reading of their own (§3.3), from `glossary.yaml` of the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from services.common.checkpoint import CheckpointError

Reading = str | Mapping[str, str]
"""How a term is said: in every language, or by language ("zh", "en")."""


class Glossary:
    """Replaces terms by their readings, longest term first, whatever their case."""

    def __init__(self, terms: Mapping[str, Reading] | None = None) -> None:
        self._terms = sorted((terms or {}).items(), key=lambda item: len(item[0]), reverse=True)

    def apply(self, text: str, language: str, *, is_whole_word: bool = False) -> str:
        """Return `text` with every term read; a term without this language stays itself.

        Args:
            text: Text to look through.
            language: "zh" or "en".
            is_whole_word: Leave a term alone inside a longer word; the published form does not.
        """
        for term, reading in self._terms:
            said = reading if isinstance(reading, str) else reading.get(language, term)
            # Not a template: a reading may hold a backslash.
            text = _pattern(term, is_whole_word).sub(said.replace("\\", r"\\"), text)
        return text


def _pattern(term: str, is_whole_word: bool) -> re.Pattern[str]:
    pattern = re.escape(term)
    if is_whole_word and re.match("[A-Za-z0-9]", term):
        pattern = "(?<![A-Za-z0-9])" + pattern
    if is_whole_word and re.search("[A-Za-z0-9]$", term):
        pattern += "(?![A-Za-z0-9])"
    return re.compile(pattern, re.IGNORECASE)


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
