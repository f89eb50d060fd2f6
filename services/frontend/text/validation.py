"""What text is accepted at all. Errors say what is allowed and never repeat the text."""

from __future__ import annotations

import re
import unicodedata

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason

# Tab, line feed, vertical tab, form feed and carriage return are white space, the rest is no text.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_text(text: str, *, max_chars: int, field: str = "text") -> None:
    """Check a whole text.

    Raises:
        InvalidRequestError: if it is empty, too long, not text, or has nothing that can be spoken.
    """
    check_fragment(text, max_chars=max_chars, field=field)
    if not text.strip():
        raise InvalidRequestError(
            f"{field} is empty or white space; 1 to {max_chars} characters are allowed",
            field=field,
            reason=Reason.TEXT_EMPTY,
        )
    if not is_speakable(text):
        raise InvalidRequestError(
            f"{field} has nothing to speak; at least one letter or digit is needed",
            field=field,
            reason=Reason.TEXT_NOT_SPEAKABLE,
        )


def check_fragment(text: str, *, max_chars: int, field: str = "text") -> None:
    """Check a piece of a text that is still arriving: its length and its characters.

    Raises:
        InvalidRequestError: if it is too long or holds a control character or a lone surrogate.
    """
    if len(text) > max_chars:
        raise InvalidRequestError(
            f"{field} has {len(text)} characters; at most {max_chars} are allowed",
            field=field,
            reason=Reason.TEXT_TOO_LONG,
        )
    for pattern, name in ((_CONTROL, "control character"), (_SURROGATE, "lone surrogate")):
        if match := pattern.search(text):
            raise InvalidRequestError(
                f"{field} has a {name} U+{ord(match[0]):04X} at offset {match.start()}; "
                "allowed are Unicode characters, white space among them",
                field=field,
                reason=Reason.TEXT_BAD_CHARACTER,
            )


def is_speakable(text: str) -> bool:
    """Whether there is a letter or a number in it; punctuation and emoji are not spoken."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)
