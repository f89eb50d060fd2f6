"""The checkpoint's config, paths and revision; no torch."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.checkpoint import (
    CheckpointConfig,
    CheckpointError,
    CheckpointFiles,
    load_config,
    revision,
)
from services.common.checkpoint.twins import SOURCE_SHA256, source_sha256

POLICY = {"first_window_codes": 25}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A directory with a config and one weight file."""
    (tmp_path / "config.yaml").write_text("gpt: {model_dim: 96}\n", encoding="utf-8")
    (tmp_path / "gpt.pth").write_bytes(b"weights")
    return tmp_path


def test_config_without_keys_is_the_official_one() -> None:
    config = CheckpointConfig()
    assert (config.gpt.model_dim, config.gpt.layers, config.gpt.stop_mel_token) == (1280, 24, 8193)
    assert config.gpt.emo_condition_module.num_blocks == 4
    assert (config.semantic_encoder.hidden_size, config.semantic_encoder.layer) == (1024, 17)
    assert config.triptych.sampling.repetition_penalty == 10.0
    assert list(config.triptych.policies) == ["balanced", "latency", "throughput"]
    assert config.triptych.languages == ("zh", "en")


def test_stated_values_replace_official_ones(checkpoint: Path) -> None:
    assert load_config(checkpoint).gpt.model_dim == 96
    assert load_config(checkpoint).gpt.layers == 24


def test_blanks_around_names_are_stripped(checkpoint: Path) -> None:
    """Early releases have a blank after `feat2.pt`."""
    (checkpoint / "config.yaml").write_text('emo_matrix: "feat2.pt "\n', encoding="utf-8")
    assert load_config(checkpoint).emo_matrix == "feat2.pt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpt: {model_dims: 96}", r"unknown key gpt\.model_dims; did you mean model_dim\?"),
        ("gtp: {}", r"unknown key gtp; did you mean gpt\?"),
        (
            "triptych: {policies: {calm: {look_ahead: 3}}}",
            r"triptych\.policies\.calm\.look_ahead; did you mean look_ahead_codes",
        ),
        ("triptych: {policies: {whole: {}}}", "whole and compat are policies of every checkpoint"),
        ("triptych: {policies: {}}", r"triptych\.policies = \{\}"),
        ("s2mel: {DiT: {is_causal: true}}", r"s2mel\.DiT\.is_causal = True"),
        ("gpt: {heads: 0}", r"gpt\.heads = 0"),
        ("gpt: {heads: many}", r"gpt\.heads = 'many': input should be a valid integer"),
        ("gpt: 3", r"gpt = 3: input should be a valid dictionary"),
        ("version: 2.5", r"version = 2\.5 is not known; known: 2\.0"),
        ("version: 1.0", r"version = 1\.0 is not known; known: 2\.0"),
        ("version: '2.0'", r"version = '2\.0' is not known"),
        ("version: true", "version = True is not known"),
        ("version: [2.0]", r"version = \[2\.0\] is not known"),
        ("version:", "version = None is not known"),
        ("- a list", "expected a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_config_is_refused_by_name(checkpoint: Path, text: str, message: str) -> None:
    (checkpoint / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        load_config(checkpoint)


def test_all_unknown_keys_are_named_at_once(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("gpt: {model_dims: 1}\nzzz: 2\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"gpt\.model_dims.*unknown key zzz; known here: .*gpt"):
        load_config(checkpoint)


def test_an_unknown_version_is_said_before_the_keys_that_come_with_it(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("version: 2.5\nvocos: {}\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="version") as caught:
        load_config(checkpoint)
    assert "vocos" not in str(caught.value)


def test_missing_config_says_what_a_checkpoint_has(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.yaml: no such file"):
        load_config(tmp_path)


def test_every_missing_file_is_named_at_once(checkpoint: Path) -> None:
    files = CheckpointFiles.locate(checkpoint)
    files.require("gpt")
    with pytest.raises(CheckpointError, match=re.escape("s2mel.pth, hf_cache/w2v-bert-2.0/model.safetensors")):
        files.require("gpt", "s2mel", "w2v_bert")


def test_unknown_file_name_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="known: .*bpe_model"):
        CheckpointFiles.locate(checkpoint).require("bpe")


def test_paths_follow_the_config(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("gpt_checkpoint: other.pth\n", encoding="utf-8")
    assert CheckpointFiles.locate(checkpoint).gpt == checkpoint / "other.pth"


def test_a_safetensors_twin_is_taken_before_its_pickle_and_without_it(checkpoint: Path) -> None:
    twin = checkpoint / "gpt.safetensors"
    assert CheckpointFiles.locate(checkpoint).gpt == checkpoint / "gpt.pth"
    twin.write_bytes(b"twin")
    assert CheckpointFiles.locate(checkpoint).gpt == twin
    assert CheckpointFiles.locate(checkpoint, prefers_twins=False).gpt == checkpoint / "gpt.pth"
    (checkpoint / "gpt.pth").unlink()
    files = CheckpointFiles.locate(checkpoint)
    files.require("gpt")
    assert files.gpt == twin


def test_a_twin_is_part_of_the_revision_and_its_pickle_no_more(checkpoint: Path) -> None:
    pickled = revision(checkpoint, "float32", POLICY)
    (checkpoint / "gpt.safetensors").write_bytes(b"twin")
    twin = revision(checkpoint, "float32", POLICY)
    (checkpoint / "gpt.pth").write_bytes(b"other weights")

    assert twin != pickled
    assert revision(checkpoint, "float32", POLICY) == twin


def test_a_twin_says_what_it_was_made_from(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {SOURCE_SHA256: "abc"}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    assert source_sha256(tmp_path / "x.safetensors") == "abc"


@given(content=st.binary(max_size=64))
def test_a_damaged_twin_says_nothing(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        twin = Path(directory) / "x.safetensors"
        twin.write_bytes(content)
        assert source_sha256(twin) == ""


def test_revision_is_stable_and_short(checkpoint: Path) -> None:
    first = revision(checkpoint, "float32", POLICY)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert revision(checkpoint, "float32", dict(POLICY)) == first


def test_revision_does_not_depend_on_where_the_files_lie(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.yaml", "gpt.pth"):
        (copy / name).write_bytes((checkpoint / name).read_bytes())
    assert revision(copy, "float32", POLICY) == revision(checkpoint, "float32", POLICY)


def test_the_model_that_reads_emotions_is_part_of_the_revision(checkpoint: Path) -> None:
    seen = [revision(checkpoint, "float32", POLICY)]
    folder = CheckpointFiles.locate(checkpoint).qwen
    (folder / "inner").mkdir(parents=True)
    for name, content in (("config.json", "{}"), ("inner/part.json", "1"), ("inner/part.json", "23")):
        (folder / name).write_text(content)
        seen.append(revision(checkpoint, "float32", POLICY))
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").write_text("of the download")

    assert len(set(seen)) == 4
    assert revision(checkpoint, "float32", POLICY) == seen[-1]


def test_revision_changes_with_weights_mode_and_policy(checkpoint: Path) -> None:
    seen = {revision(checkpoint, "float32", POLICY)}
    seen.add(revision(checkpoint, "float16", POLICY))
    seen.add(revision(checkpoint, "float32", {"first_window_codes": 26}))
    (checkpoint / "gpt.pth").write_bytes(b"other weights")
    seen.add(revision(checkpoint, "float32", POLICY))
    (checkpoint / "bpe.model").write_bytes(b"pieces")
    seen.add(revision(checkpoint, "float32", POLICY))
    assert len(seen) == 5


def test_the_order_of_policies_is_part_of_the_revision_since_the_first_is_the_default(checkpoint: Path) -> None:
    calm, swift = {"first_window_codes": 25}, {"first_window_codes": 12}
    first_calm = revision(checkpoint, "float32", {"calm": calm, "swift": swift})

    assert revision(checkpoint, "float32", {"swift": swift, "calm": calm}) != first_calm


def test_the_order_inside_a_policy_is_no_part_of_the_revision(checkpoint: Path) -> None:
    params = {"steps": 4.0, "sway": -0.5}
    one = {"calm": {"first_window_codes": 25, "params": params}}
    other = {"calm": {"params": dict(reversed(params.items())), "first_window_codes": 25}}

    assert revision(checkpoint, "float32", one) == revision(checkpoint, "float32", other)
