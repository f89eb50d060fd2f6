"""The networks reproduce the stored tensors of the published implementation, and the command notices when not."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.parity import trim
from bench.parity.__main__ import main, producers, reproduce, text_comparison
from bench.parity.pack import Pack
from bench.parity.report import misses
from bench.parity.text_side import check_text

WHOLE_PACK = "TRIPTYCH_GOLDEN_PACK"
"""Environment variable that names the directory of a whole pack, with every stage."""
ARCHIVE = Path(__file__).parent.parent / "golden" / "tiny-a.tar.xz"

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    directory = tmp_path_factory.mktemp("tiny-a")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(directory, filter="data")
    return Pack(directory)


@pytest.fixture
def copy(pack: Pack, tmp_path: Path) -> Path:
    """A copy whose files may be replaced, but not written to."""
    return Path(shutil.copytree(pack.directory, tmp_path / "copy", copy_function=os.link))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, Manifest]]:
    """Runs the command; gives its exit status, what it printed and its report."""

    def run_command(directory: Path, *options: str) -> tuple[int, str, Manifest]:
        report = tmp_path / "parity.json"
        status = main([str(directory), "--report", str(report), *options])
        return status, capsys.readouterr().out, json.loads(report.read_text("utf-8"))

    return run_command


Run = Callable[..., tuple[int, str, Manifest]]


def rewrite_manifest(directory: Path, change: Callable[[Manifest], None]) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.unlink()
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("stage", trim.KEPT_STAGES)
def test_every_stored_tensor_is_reproduced(pack: Pack, stage: str) -> None:
    by_stage = reproduce(pack, [stage])
    compared = [comparison for comparisons in by_stage.values() for comparison in comparisons]
    assert len(by_stage[stage]) == len(pack.expectations(stage)) > 0
    assert misses(compared) == []


@pytest.mark.skipif(WHOLE_PACK not in os.environ, reason=f"{WHOLE_PACK} names no directory of a whole golden pack")
def test_a_whole_pack_is_reproduced() -> None:
    whole = Pack(os.environ[WHOLE_PACK])
    by_stage = reproduce(whole, whole.stages)
    compared = [comparison for comparisons in by_stage.values() for comparison in comparisons]

    assert set(whole.stages) > set(trim.KEPT_STAGES)
    assert len(compared) >= sum(len(whole.expectations(stage)) for stage in whole.stages)
    assert misses(compared) == []


def test_the_pack_has_the_stages_tested_here(pack: Pack) -> None:
    assert sorted(pack.stages) == sorted(trim.KEPT_STAGES)


def test_stored_outputs_are_not_silent(pack: Pack) -> None:
    for stage, name in (("utterance", "out.pcm"), ("text", "out.pcm"), ("bigvgan", "out.wav")):
        assert pack.tensor(stage, name).astype(np.float64).std() > 1e-3


def test_only_the_stages_of_the_manifest_run(copy: Path, run: Run) -> None:
    rewrite_manifest(copy, lambda manifest: keep_stages(manifest, "mel", "codec"))
    status, printed, report = run(copy)
    assert status == 0
    assert {key.partition(".")[0] for key in report["figures"]} == {"mel", "codec"}
    assert "6 of 6 tensors reproduced" in printed


def keep_stages(manifest: Manifest, *stages: str) -> None:
    manifest["stages"] = {stage: manifest["stages"][stage] for stage in stages}


def test_a_stage_that_the_pack_lacks_proves_nothing(pack: Pack, run: Run) -> None:
    assert "w2v" in producers()
    status, printed, report = run(pack.directory, "--stage", "w2v")
    assert (status, report["figures"]) == (1, {})
    assert "0 of 0 tensors reproduced" in printed


@pytest.mark.parametrize(
    ("stage", "file", "name"),
    [("codec", "codec", "out.S_ref"), ("codec", "codec", "out.codes"), ("mel", "mel", "out.ref_mel")],
)
def test_one_disturbed_value_is_a_miss(copy: Path, run: Run, stage: str, file: str, name: str) -> None:
    path = copy / "golden" / f"{file}.safetensors"
    tensors = load_file(path)
    tensors[name].flat[7] += 1 if tensors[name].dtype.kind == "i" else np.abs(tensors[name]).max() / 1000
    path.unlink()
    save_file(tensors, path)
    status, printed, report = run(copy, "--stage", stage)
    assert status == 1
    assert f"MISS {stage}/{name}: " in printed
    figure = report["figures"][f"{stage}.misses"]
    assert (figure["value"], figure["met"]) == (1, False)


def test_a_disturbed_weight_is_a_miss(copy: Path, run: Run) -> None:
    path = copy / "hf_cache" / "semantic_codec_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("encoder.") and name.endswith("weight"))
    tensors[name].flat[0] += 0.01
    path.unlink()
    save_file(tensors, path)
    status, printed, _ = run(copy, "--stage", "codec")
    assert status == 1
    assert "MISS codec/" in printed


def test_a_disturbed_text_case_is_a_miss(copy: Path) -> None:
    path = copy / "golden" / "text.json"
    content = json.loads(path.read_text("utf-8"))
    content["text_cases"][0]["ids"][0] += 1
    path.unlink()
    path.write_text(json.dumps(content), encoding="utf-8")
    missed = misses([text_comparison(check) for check in check_text(Pack(copy))])
    assert [line.partition(": ")[0] for line in missed] == ["text/text[0].ids"]


def test_a_tensor_without_producer_is_a_miss(copy: Path, run: Run) -> None:
    def add(manifest: Manifest) -> None:
        tensors = manifest["stages"]["mel"]["tensors"]
        tensors["out.nobody_makes_this"] = tensors["out.ref_mel"]

    rewrite_manifest(copy, add)
    status, printed, _ = run(copy, "--stage", "mel")
    assert status == 1
    assert "MISS mel/out.nobody_makes_this: no producer" in printed


def test_an_unknown_stage_is_a_miss(copy: Path, run: Run) -> None:
    rewrite_manifest(copy, lambda manifest: manifest["stages"].update(mystery=manifest["stages"]["mel"]))
    status, printed, _ = run(copy, "--stage", "mystery")
    assert status == 1
    assert "MISS mystery/out.ref_mel: no producer" in printed


def test_trimming_drops_what_the_kept_stages_do_not_read(pack: Pack, tmp_path: Path) -> None:
    trim.trim(pack, tmp_path, ["codec"])
    trimmed = Pack(tmp_path)
    assert trimmed.stages == ["codec"]
    assert misses(reproduce(trimmed, ["codec"])["codec"]) == []
    assert not any(value.any() for value in load_file(trimmed.files.w2v_bert).values())
    assert not (tmp_path / "golden" / "gpt.safetensors").exists()


def test_trimming_twice_gives_the_same_bytes(pack: Pack, tmp_path: Path) -> None:
    for name in ("one", "two"):
        trim.trim(pack, tmp_path / name, ["mel", "codec"], mantissa_bits=18)
        shutil.rmtree(tmp_path / name / "hf_cache" / "w2v-bert-2.0")
        (tmp_path / name / "hf_cache" / "campplus_cn_common.bin").unlink()
    os.utime(tmp_path / "two" / "gpt.pth", (0, 0))
    assert trim.archive(tmp_path / "one") == trim.archive(tmp_path / "two")


@pytest.mark.parametrize(
    ("stages", "reason"), [(["melody"], "no stage is called melody"), (["utterance"], "codec, gpt_cond, s2mel")]
)
def test_a_choice_of_stages_that_makes_no_pack_is_refused(
    pack: Pack, tmp_path: Path, stages: list[str], reason: str
) -> None:
    with pytest.raises(trim.TrimError, match=reason):
        trim.trim(pack, tmp_path, stages)


def test_rounding_keeps_the_leading_bits() -> None:
    values = np.array([1 + 2**-18, 1 + 2**-20, -3.0, 0.0], dtype=np.float32)
    assert trim.rounded(values, 18).tolist() == [1 + 2**-18, 1.0, -3.0, 0.0]
    assert trim.rounded(values, trim.FULL_MANTISSA).tolist() == values.tolist()
    random = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    noise = (trim.rounded(random, 18) - random) / random
    assert 0.5e-6 < noise.std() < 1e-6
