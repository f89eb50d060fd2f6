"""The text side of `make parity`, on the text part of the tiny pack."""

from pathlib import Path
from shutil import copy

import pytest

from bench.parity import text_side
from bench.parity.pack import Pack


@pytest.fixture
def pack(golden: Path, tmp_path: Path) -> Pack:
    (tmp_path / "golden").mkdir()
    copy(golden / "tiny-a" / "bpe.model", tmp_path)
    copy(golden / "tiny-a" / "text.json", tmp_path / "golden")
    (tmp_path / "config.yaml").write_text("version: 2.0\n")
    (tmp_path / "manifest.json").write_text(
        '{"pack": "text", "stages": {}, "settings": {"text": "Hello world.", "max_text_tokens_per_segment": 2}}'
    )
    return Pack(tmp_path)


def test_every_text_case_is_reproduced(pack: Pack) -> None:
    checks = text_side.check_text(pack)
    assert len(checks) == 14 * 8
    assert [check for check in checks if not check.is_equal] == []


def test_a_wrong_golden_is_a_miss(pack: Pack) -> None:
    path = pack.directory / "golden" / "text.json"
    path.write_text(path.read_text("utf-8").replace('"▁HELLO"', '"▁HALLO"'), "utf-8")
    assert any(not check.is_equal and "HALLO" in check.note for check in text_side.check_text(pack))


def test_segment_ids_are_one_array_each(pack: Pack) -> None:
    produced = text_side.STAGES["text"](pack)
    assert {name: ids.tolist() for name, ids in produced.items()} == {
        "out.text_ids_segment0": [[194, 163]],
        "out.text_ids_segment1": [[291]],
    }
