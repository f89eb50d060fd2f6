"""Pre-tokenising, and what a tokenizer says about text that its model does not know."""

from pathlib import Path

import pytest

from services.common.checkpoint import CheckpointError
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.splitter import split_pieces
from services.frontend.text.tokenizer import Tokenizer, pretokenize


@pytest.mark.parametrize(
    ("text", "spaced"),
    [("  你好ab c ", "你 好 AB C"), ("", ""), ("か𠀀ㄅ", "か 𠀀 ㄅ"), ("é“”", "É“”"), ("한a", "한 A")],
)
def test_cjk_characters_stand_alone_and_letters_are_upper_case(text: str, spaced: str) -> None:
    assert pretokenize(text) == spaced


def test_upper_casing_is_data() -> None:
    assert pretokenize("你a B", uppercase=False) == "你 a B"


def test_unknown_pieces_get_the_unknown_id(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.pieces("HELLO 克")
    ids = tokenizer.ids(pieces)
    assert [piece for piece, token in zip(pieces, ids, strict=True) if tokenizer.is_unknown(token)] == ["克"]


def test_one_character_is_published_as_it_stands(frontend: IndexTts2Frontend) -> None:
    def pieces(text: str) -> list[str]:
        return [token.piece for token in frontend.encode_published(text).tokens]

    assert pieces(" a ") == ["▁", "a"]
    assert pieces("ab")[0] == "▁A"
    assert pieces(" \n") == []


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_missing_or_damaged_model_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bpe.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="bpe.model"):
        Tokenizer(path)


def test_a_quote_after_a_sentence_ends_one_segment_and_begins_the_next() -> None:
    pieces = ["a", "b", ".", "'", "c", "d", "e"]
    assert split_pieces(pieces, 4) == [["a", "b", ".", "'"], ["'", "c", "d", "e"]]
    assert split_pieces(pieces, 3) == [["a", "b", ".", "'"], ["'", "c", "d"], ["e"]]
