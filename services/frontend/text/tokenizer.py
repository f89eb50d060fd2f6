"""Spoken words to SentencePiece pieces and ids (§3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from services.common.checkpoint import CheckpointError

_CJK = re.compile(
    "([\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff])"
)


def pretokenize(text: str, *, uppercase: bool = True) -> str:
    """Put single spaces around every CJK character; upper-case unless the checkpoint says no."""
    parts = (part.strip() for part in _CJK.split(text.strip()))
    spaced = " ".join(part for part in parts if part)
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

    @property
    def num_pieces(self) -> int:
        return int(self._processor.get_piece_size())

    def pieces(self, text: str) -> list[str]:
        """Return the pieces of `text` as it stands; characters outside the model are pieces too."""
        return [str(piece) for piece in self._processor.encode(text, out_type=str)]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return one id per piece; a piece outside the model has the unknown id."""
        return [int(self._processor.piece_to_id(piece)) for piece in pieces]

    def is_unknown(self, token_id: int) -> bool:
        return token_id == self._unknown_id
