"""The published text front end, character by character and piece by piece."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.frontend.text.backends import (
    Backend,
    WetextBackend,
    WeTextProcessingBackend,
    is_wetextprocessing_installed,
)
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.normalizer import TextNormalizer
from services.frontend.text.options import TextOptions
from services.frontend.text.splitter import split_pieces
from services.frontend.text.tokenizer import Tokenizer, pretokenize


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def check_normalizer(backend: Backend, cases: list[dict[str, Any]], *, mended: bool) -> None:
    normalizer = TextNormalizer(backend, mended=mended)
    for case in cases:
        spoken = normalizer.normalize(case["text"])
        assert spoken.text == case["normalized"]
        assert (spoken.language == "zh") is case["chinese_path"]
        assert pretokenize(spoken.text) == case["pretokenized"]


@pytest.mark.parametrize("mended", [False, True], ids=["published", "mended"])
def test_wetext_goldens_are_exact_and_mending_changes_none_of_them(
    golden: Path, wetext: WetextBackend, mended: bool
) -> None:
    cases = load(golden / "textnorm_wetext.json")["cases"]
    assert len(cases) == 62
    check_normalizer(wetext, cases, mended=mended)


@pytest.mark.skipif(not is_wetextprocessing_installed(), reason="WeTextProcessing is not installed")
def test_wetextprocessing_goldens_are_exact(golden: Path) -> None:
    cases = load(golden / "textnorm_wetextprocessing.json")["cases"]
    check_normalizer(WeTextProcessingBackend(), cases, mended=False)


def test_split_goldens_are_exact(golden: Path) -> None:
    cases = load(golden / "split.json")
    assert len(cases) == 60
    for case in cases:
        assert split_pieces(case["tokens"], case["max"], case["quick"]) == case["segments"]


def test_tokens_and_segments_of_the_tiny_pack_are_exact(golden: Path, tokenizer: Tokenizer) -> None:
    for case in load(golden / "tiny-a" / "text.json")["text_cases"]:
        text = case["text"]
        pretokenized = pretokenize(case["normalized"])
        pieces = tokenizer.pieces(text if len(text.strip()) == 1 else pretokenized)
        assert pretokenized == case["pretokenized"]
        assert pieces == case["pieces"]
        assert tokenizer.ids(pieces) == case["ids"]
        for limits, segments in case["segments"].items():
            max_tokens, quick_tokens = limits.removeprefix("max").split("_quick")
            assert split_pieces(pieces, int(max_tokens), int(quick_tokens)) == segments


def test_whole_text_segments_are_those_of_the_tiny_pack(golden: Path, frontend: IndexTts2Frontend) -> None:
    case = load(golden / "tiny-a" / "text.json")["text_cases"][0]
    segments = frontend.whole_text_segments(case["text"], TextOptions(max_tokens=40))
    ids = [list(segment.token_ids) for segment in segments]
    assert [len(part) for part in ids] == [len(part) for part in case["segments"]["max40_quick0"]]
    assert [token for part in ids for token in part] == case["ids"]
    assert "".join(segment.text for segment in segments) == case["text"].replace("! ", "!").strip()
    assert all(segment.text == case["text"][segment.start : segment.end] for segment in segments)
