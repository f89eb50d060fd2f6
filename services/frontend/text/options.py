"""What a request may say about its text, and what is allowed there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason

MAX_TERMS = 100
MAX_TERM_CHARS = 64
MAX_READING_CHARS = 256
MIN_SEGMENT_TOKENS = 10
MAX_LANGUAGE_CHARS = 35
"""The length that RFC 5646 has everyone make room for."""

# Of the grammar in RFC 5646 what every tag fulfils: a language, then parts of up to eight letters and digits.
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class TextOptions:
    """How one request wants its text read."""

    language: str = ""
    """BCP-47 tag; empty: found out, sentence by sentence."""
    glossary: tuple[tuple[str, str], ...] = ()
    """Terms and their readings, which go before the checkpoint's own."""
    disabled_rules: frozenset[str] = frozenset()
    max_tokens: int | None = None
    """Most tokens of a segment; None for what the policy says."""


def check_language(language: str, languages: Sequence[str]) -> None:
    """Check that a model speaks a language; a region or a script after it (`en-GB`) does not matter.

    Raises:
        InvalidRequestError: if it does not, or it is no BCP-47 tag; it lists the languages that it speaks.
    """
    if language and (len(language) > MAX_LANGUAGE_CHARS or not _LANGUAGE_TAG.fullmatch(language)):
        raise InvalidRequestError(
            f"language is no BCP-47 tag, such as en or zh-Hans, of at most {MAX_LANGUAGE_CHARS} characters; "
            f"this model's languages are: {', '.join(languages)}",
            field="config.language",
            reason=Reason.FIELD_INVALID,
        )
    if language and primary(language) not in map(primary, languages):
        raise InvalidRequestError(
            f"language is not one that this model speaks; its languages are: {', '.join(languages)}",
            field="config.language",
            reason=Reason.LANGUAGE_NOT_SUPPORTED,
        )


def primary(language: str) -> str:
    """The language of a BCP-47 tag, without region and script."""
    return language.split("-", maxsplit=1)[0].lower()


def check_rules(disabled: frozenset[str], rules: Sequence[str]) -> None:
    """Check that every rule that a request goes without exists."""
    if not disabled <= set(rules):
        raise InvalidRequestError(
            f"disabled_rules has a rule that this model does not have; its rules are: {', '.join(rules)}",
            field="config.text.disabled_rules",
            reason=Reason.OUT_OF_RANGE,
        )


def check_max_tokens(max_tokens: int | None, limit: int) -> None:
    """Check a request's limit of tokens in a segment against the model's."""
    lowest = min(MIN_SEGMENT_TOKENS, limit)
    if max_tokens is not None and not lowest <= max_tokens <= limit:
        raise InvalidRequestError(
            f"max_segment_tokens is {max_tokens}; {lowest} to {limit} are allowed",
            field="config.text.max_segment_tokens",
            reason=Reason.OUT_OF_RANGE,
        )


def check_glossary(glossary: Sequence[tuple[str, str]]) -> None:
    """Check number, lengths and characters of a request's glossary.

    Raises:
        InvalidRequestError: if it is over a limit, holds a control character or says a term twice.
    """
    if len(glossary) > MAX_TERMS:
        raise _refused(f"has {len(glossary)} terms; at most {MAX_TERMS} are allowed")
    for index, (term, reading) in enumerate(glossary):
        _check_length(term, f"term {index}", MAX_TERM_CHARS)
        _check_length(reading, f"the reading of term {index}", MAX_READING_CHARS)
    if len({term.casefold() for term, _ in glossary}) < len(glossary):
        raise _refused("has a term twice; each may come once, whatever its case", Reason.FIELD_CONFLICT)


def _check_length(text: str, what: str, limit: int) -> None:
    if not text.strip() or len(text) > limit:
        raise _refused(f"{what} has {len(text)} characters; 1 to {limit}, not all white space, are allowed")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise _refused(f"{what} has a control character; none is allowed", Reason.TEXT_BAD_CHARACTER)


def _refused(message: str, reason: Reason = Reason.OUT_OF_RANGE) -> InvalidRequestError:
    return InvalidRequestError(f"glossary: {message}", field="config.text.glossary", reason=reason)
