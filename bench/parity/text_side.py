"""The text front end against a pack's `golden/text.json`: strings and ids, all exact.

The goldens come from WeTextProcessing. Where that is not installed, the normalised string is not
comparable and everything after it starts from the stored one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bench.parity.pack import Array, Pack, Producer
from services.frontend.text.backends import (
    WetextBackend,
    WeTextProcessingBackend,
    is_wetextprocessing_installed,
)
from services.frontend.text.glossary import load_glossary
from services.frontend.text.normalizer import TextNormalizer
from services.frontend.text.splitter import split_pieces
from services.frontend.text.tokenizer import Tokenizer, pretokenize

_LIMITS = re.compile(r"max(\d+)_quick(\d+)")


@dataclass(frozen=True)
class TextCheck:
    """One comparison of one text case."""

    name: str
    is_equal: bool
    note: str = ""
    """Why it was not compared, or what differs."""


def text(pack: Pack) -> dict[str, Array]:
    """Ids of the segments of the pack's own text; their audio is produced by the utterance side."""
    spoken: str = pack.settings["text"]
    normalizer = _normalizer(pack) or TextNormalizer(WetextBackend(), mended=False)
    stored = {case["text"]: case["normalized"] for case in _cases(pack)}
    if not is_wetextprocessing_installed() and spoken in stored:
        normalized = stored[spoken]
    else:
        normalized = normalizer.normalize(spoken).text
    tokenizer = _tokenizer(pack)
    pieces = tokenizer.pieces(pretokenize(normalized))
    segments = split_pieces(pieces, pack.settings["max_text_tokens_per_segment"])
    return {
        f"out.text_ids_segment{index}": np.array([tokenizer.ids(segment)]) for index, segment in enumerate(segments)
    }


STAGES: dict[str, Producer] = {"text": text}


def check_text(pack: Pack) -> list[TextCheck]:
    """Compare every text case of a pack; a pack without `golden/text.json` has none."""
    cases = enumerate(_cases(pack))
    return [check for index, case in cases for check in _check_case(pack, f"text[{index}]", case)]


def _cases(pack: Pack) -> list[dict[str, Any]]:
    path = pack.directory / "golden" / "text.json"
    return list(json.loads(path.read_text("utf-8"))["text_cases"]) if path.is_file() else []


def _check_case(pack: Pack, name: str, case: dict[str, Any]) -> Iterator[TextCheck]:
    tokenizer = _tokenizer(pack)
    normalizer = _normalizer(pack)
    normalized = normalizer.normalize(case["text"]).text if normalizer else case["normalized"]
    if normalizer:
        yield _compare(f"{name}.normalized", normalized, case["normalized"])
    else:
        yield TextCheck(f"{name}.normalized", is_equal=True, note="not comparable without WeTextProcessing")
    pretokenized = pretokenize(normalized)
    yield _compare(f"{name}.pretokenized", pretokenized, case["pretokenized"])
    # One character is tokenized as it stands, whatever the case lists for the steps before.
    text = case["text"]
    pieces = tokenizer.pieces(text if len(text.strip()) == 1 else pretokenized) if text.strip() else []
    yield _compare(f"{name}.pieces", pieces, case["pieces"])
    yield _compare(f"{name}.ids", tokenizer.ids(pieces), case["ids"])
    for key, segments in case["segments"].items():
        limits = _LIMITS.fullmatch(key)
        if not limits:
            yield TextCheck(f"{name}.{key}", is_equal=False, note="unknown limits")
            continue
        split = split_pieces(pieces, int(limits[1]), int(limits[2]))
        yield _compare(f"{name}.{key}", split, segments)


def _compare(name: str, produced: object, reference: object) -> TextCheck:
    is_equal = produced == reference
    return TextCheck(name, is_equal, "" if is_equal else f"{produced!r} instead of {reference!r}")


@lru_cache(maxsize=1)
def _tokenizer(pack: Pack) -> Tokenizer:
    return Tokenizer(pack.files.bpe_model)


@lru_cache(maxsize=1)
def _normalizer(pack: Pack) -> TextNormalizer | None:
    if not is_wetextprocessing_installed():
        return None
    glossary = load_glossary(pack.files.glossary)
    return TextNormalizer(WeTextProcessingBackend(), glossary=glossary, mended=False)
