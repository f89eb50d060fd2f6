"""Tokens that the model knows, and a word about the characters that it does not."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.frontend.text.characters import would_be_spoken
from services.frontend.text.segment import TextWarning, TextWarningReason, Token
from services.frontend.text.spans import Span, SpannedText
from services.frontend.text.tokenizer import Tokenizer

Prepare = Callable[[SpannedText], SpannedText]


@dataclass(frozen=True)
class Known:
    """A text without what the model does not know."""

    tokens: tuple[Token, ...]
    spoken: SpannedText
    left_out: tuple[Span, ...]
    """Places in the original of characters that a reader would have said."""


def known_tokens(tokenizer: Tokenizer, spoken: SpannedText, prepare: Prepare) -> Known:
    """Tokenize what the model knows of a text; unknown characters are left out before, not their tokens after.

    A token that is left out would leave the spaces of both its sides.

    Args:
        tokenizer: The model's.
        spoken: Normalised text with spans of the original.
        prepare: The pre-tokenizing step.
    """
    left_out: list[Span] = []
    while True:
        # Spans of the spoken text first, so that what is unknown can be cut out of it.
        prepared = prepare(SpannedText.of(spoken.text))
        tokens = tokenizer.tokens(prepared.text)
        unknown = _characters(prepared, (token for token in tokens if tokenizer.is_unknown(token.id)))
        if not unknown:
            break
        left_out += [spoken.span(index, index + 1) for index in unknown if would_be_spoken(spoken.text[index])]
        spoken = spoken.edit([(index, index + 1, _instead(spoken.text, index)) for index in unknown])
    known = (token for token in tokens if not tokenizer.is_unknown(token.id))
    return Known(placed(known, prepared, spoken), spoken, tuple(sorted(left_out)))


def placed(tokens: Iterable[Token], prepared: SpannedText, spoken: SpannedText) -> tuple[Token, ...]:
    """Take tokens from the prepared text back to the original that the spoken text stands for."""
    return tuple(Token(token.id, token.piece, *spoken.span(*prepared.span(token.start, token.end))) for token in tokens)


def _characters(prepared: SpannedText, tokens: Iterable[Token]) -> list[int]:
    spans = [prepared.span(token.start, token.end) for token in tokens]
    return sorted({index for span in spans for index in range(*span)})


def _instead(text: str, index: int) -> str:
    """A space for a mark between two words, which are not one for it; nothing for all else."""
    is_between_words = text[index - 1 : index].isalnum() and text[index + 1 : index + 2].isalnum()
    return " " if is_between_words and not text[index].isalpha() else ""


def unknown_warnings(text: str, left_out: Iterable[Span]) -> tuple[TextWarning, ...]:
    """One warning for each run of the original that was left out; code points, never the text itself."""
    runs: list[Span] = []
    for start, end in sorted(set(left_out)):
        if runs and start <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
        else:
            runs.append((start, end))
    return tuple(_warning(text, *run) for run in runs)


def _warning(text: str, start: int, end: int) -> TextWarning:
    codes = [f"U+{ord(character):04X}" for character in text[start:end] if unicodedata.category(character)[0] != "Z"]
    named = ", ".join(codes[:4]) + (f" and {len(codes) - 4} more" if len(codes) > 4 else "")
    return TextWarning(
        TextWarningReason.UNKNOWN_CHARACTER, f"not spoken, because the model does not know it: {named}", start, end
    )
