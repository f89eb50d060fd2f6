"""The phoneme alphabet of the mini voice, and its SentencePiece model with one piece per character."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import hibari
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as schema

from recipes.mini import paths

SILENT = set(',.!?;:—…"()“”$')
SPECIAL = ("<s>", "</s>", "<unk>")
SPACE_PIECE = "\u2581"  # SentencePiece writes a space as this mark


def alphabet_file() -> Path:
    """hibari-tts ships the alphabet that its G2P speaks; the teacher reads the same one."""
    return Path(hibari.__file__).parent / "assets/vocab.json"


@cache
def alphabet() -> tuple[str, ...]:
    """Every phoneme character, in the teacher's order. Piece id = index + 3."""
    order: dict[str, int] = json.loads(alphabet_file().read_text())
    return tuple(sorted(order, key=lambda character: order[character]))


def write_sentencepiece(path: Path) -> None:
    """Build the model by hand: identity normalisation, so that a string round-trips unchanged."""
    model = schema.ModelProto()
    model.trainer_spec.model_type = schema.TrainerSpec.CHAR
    model.trainer_spec.vocab_size = len(alphabet()) + len(SPECIAL)
    model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2
    model.trainer_spec.pad_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    kinds = (schema.ModelProto.SentencePiece.CONTROL,) * 2 + (schema.ModelProto.SentencePiece.UNKNOWN,)
    for piece, kind in zip(SPECIAL, kinds, strict=True):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for index, character in enumerate(alphabet()):
        piece = SPACE_PIECE if character == " " else character
        model.pieces.add(piece=piece, score=-float(index + 1), type=schema.ModelProto.SentencePiece.NORMAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


@cache
def processor() -> sentencepiece.SentencePieceProcessor:
    path = paths.STATE / "bpe.model"
    if not path.exists():
        write_sentencepiece(path)
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def token_ids(phonemes: str) -> list[int]:
    """One id per phoneme character."""
    ids: list[int] = processor().encode(phonemes)
    return ids
