"""Which letters a model reads, and which of its languages a text is in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.text.options import primary

_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0002ffff]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


class Script:
    """The letters of one model.

    Args:
        is_known: Whether the model reads a letter.
        languages: The model's, for the error.
        max_share: Up to this share of unknown letters is left out of a sentence with a warning; above it the
            sentence is refused.
    """

    def __init__(self, is_known: Callable[[str], bool], languages: Sequence[str], max_share: float) -> None:
        self._is_known = is_known
        self._languages = languages
        self._max_share = max_share

    def unknown(self, text: str) -> list[int]:
        """Where letters are that the model does not read."""
        return [index for index, letter in enumerate(text) if letter.isalpha() and not self._is_known(letter)]

    def is_foreign(self, sentence: str) -> bool:
        """Whether too many of its letters are unknown; a single letter never is."""
        letters = Counter(filter(str.isalpha, sentence))
        num_unknown = sum(number for letter, number in letters.items() if not self._is_known(letter))
        return num_unknown > 1 and num_unknown > self._max_share * letters.total()

    def check(self, sentence: str, field: str = "text") -> None:
        """Refuse a sentence in a script that the model does not read.

        Raises:
            InvalidRequestError: with the model's languages.
        """
        if self.is_foreign(sentence):
            self.refuse(field)

    def check_any(self, text: str, field: str = "text") -> None:
        """Refuse a whole text without a single number or letter that the model reads."""
        if not any(self._is_known(character) if character.isalpha() else character.isnumeric() for character in text):
            self.refuse(field)

    def refuse(self, field: str) -> None:
        raise InvalidRequestError(
            f"{field} is in a script that this model cannot speak; its languages are: {', '.join(self._languages)}",
            field=field,
            reason=Reason.LANGUAGE_NOT_SUPPORTED,
        )


def has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def detect(text: str, languages: Sequence[str]) -> str:
    """The BCP-47 tag of a text among a model's languages: Chinese for ideographs, English for Latin letters.

    A model of one language has that one. Where the letters say nothing it is the model's first.
    """
    if len(languages) == 1:
        return languages[0]
    for pattern, wanted in ((_HAN, "zh"), (_LATIN, "en")):
        if pattern.search(text):
            return next((language for language in languages if primary(language) == wanted), _first(languages))
    return _first(languages)


def _first(languages: Sequence[str]) -> str:
    return languages[0] if languages else "und"
