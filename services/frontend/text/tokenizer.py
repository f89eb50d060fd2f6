"""Spoken words to SentencePiece pieces and ids (§3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import sentencepiece

from services.common.checkpoint import CheckpointError
from services.frontend.text.segment import Token
from services.frontend.text.spans import SpannedText

_CJK = re.compile(
    "([\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff])"
)


def pretokenize(text: str, *, uppercase: bool = True) -> str:
    """Put single spaces around every CJK character; upper-case unless the checkpoint says no."""
    return pretokenize_spanned(SpannedText.of(text), uppercase=uppercase).text


def pretokenize_spanned(text: SpannedText, *, uppercase: bool = True) -> SpannedText:
    """The same for a text with spans."""
    if not _CJK.search(text.text):
        spaced = text.strip()
    else:
        borders = sorted({0, len(text.text), *(end for match in _CJK.finditer(text.text) for end in match.span())})
        parts = [text.cut(start, end).strip() for start, end in pairwise(borders)]
        spaced = SpannedText.join(" ", [part for part in parts if part.text])
    return spaced.upper() if uppercase else spaced


class Tokenizer:
    """The SentencePiece model of a checkpoint. Adds no start or stop token: the GPT does."""

    def __init__(self, model_file: Path) -> None:
        if not model_file.is_file():
            raise CheckpointError(f"{model_file}: no such file; a checkpoint has a SentencePiece model")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
        except (RuntimeError, OSError) as error:
            raise CheckpointError(f"{model_file}: not a SentencePiece model: {error}") from error
        self._unknown_id = int(self._processor.unk_id())
        self.knows = lru_cache(maxsize=4096)(self._knows)

    @property
    def num_pieces(self) -> int:
        return int(self._processor.get_piece_size())

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of `text` as it stands; characters outside the model are tokens too.

        A token's span is without the white space before it, which its piece spells as "▁".
        """
        encoded = self._processor.encode(text, return_type="offset_mapping")
        found = zip(encoded["ids"], encoded["pieces"], encoded["offsets"], strict=True)
        return [Token(int(token), str(piece), *_inside(text, *offsets)) for token, piece, offsets in found]

    def pieces(self, text: str) -> list[str]:
        """Return the pieces of `text` as it stands; characters outside the model are pieces too."""
        return [str(piece) for piece in self._processor.encode(text, out_type=str)]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return one id per piece; a piece outside the model has the unknown id."""
        return [int(self._processor.piece_to_id(piece)) for piece in pieces]

    def is_unknown(self, token_id: int) -> bool:
        return token_id == self._unknown_id

    def _knows(self, character: str) -> bool:
        """Whether the model has a token for a character that stands alone."""
        return self._unknown_id not in self._processor.encode(character, out_type=int)


def _inside(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    return start, end
