"""`make weights` against a stand-in for the hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.weights import vocoder
from bench.weights.lock import LOCK_NAME
from bench.weights.sources import SOURCES
from services.vocoder_worker.model.manifest import Manifest, file_sha256
from tests.unit.local.fake_hub import FakeHub

_LICENCE = "You may do this and not that."


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    repositories = {
        source.repository: {
            path: f"{source.repository}/{path}".encode() * (100_000 if "gpt" in path else 100)
            for path, _ in source.files
        }
        for source in SOURCES
    }
    model = repositories["IndexTeam/IndexTTS-2"]
    model["config.yaml"] = b"version: 2.0\n"
    model["LICENSE.txt"] = _LICENCE.encode()
    model["unrelated.bin"] = b"not wanted"
    with FakeHub(repositories) as hub:
        yield hub


def _run(hub: FakeHub, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(directory.parent / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-m", "bench.weights", str(directory), "--no-export", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def _downloads(hub: FakeHub) -> list[str]:
    return [path for method, path, _ in hub.requests if method == "GET"]


def test_every_file_comes_to_its_place_and_stays_pinned(hub: FakeHub, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    first = _run(hub, directory, "--accept-licence")
    assert first.returncode == 0, first.stderr
    for source in SOURCES:
        for path, target in source.files:
            assert (directory / target).read_bytes() == hub.repositories[source.repository][path]
    assert not (directory / "unrelated.bin").exists()
    # What was fetched lies in the cache of HF_HOME too, without a second copy.
    assert (directory / "gpt.pth").stat().st_nlink == 2
    lock = json.loads((directory / LOCK_NAME).read_text())["files"]
    by_target = {entry["target"]: entry for entry in lock}
    assert by_target["gpt.pth"]["revision"] == hub.commit("IndexTeam/IndexTTS-2")
    assert by_target["config.yaml"]["sha256"] == hashlib.sha256(b"version: 2.0\n").hexdigest()

    # A second run asks nobody; a lost file is fetched at the pinned commit.
    hub.requests.clear()
    second = _run(hub, directory)
    assert (second.returncode, hub.requests) == (0, [])
    (directory / "feat1.pt").write_bytes(b"broken")
    third = _run(hub, directory, "--accept-licence")
    assert third.returncode == 0, third.stderr
    assert "[1/1] IndexTeam/IndexTTS-2 feat1.pt" in third.stdout
    expected = hub.repositories["IndexTeam/IndexTTS-2"]["feat1.pt"]
    assert (directory / "feat1.pt").read_bytes() == expected


def test_nothing_is_fetched_before_the_licence_is_accepted(hub: FakeHub, tmp_path: Path) -> None:
    outcome = _run(hub, tmp_path / "model")
    assert outcome.returncode == 1
    assert _LICENCE in outcome.stdout
    assert "--accept-licence" in outcome.stderr
    assert _downloads(hub) == ["LICENSE.txt"]
    assert not (tmp_path / "model").exists()


def test_a_cut_download_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    # huggingface_hub keeps what it has in steps of 10 MiB.
    data = bytes(range(256)) * (24 * 4096)
    hub.repositories["IndexTeam/IndexTTS-2"]["gpt.pth"] = data
    hub.cut_once = {"gpt.pth"}
    directory = tmp_path / "model"
    outcome = _run(hub, directory, "--accept-licence")
    assert outcome.returncode == 0, outcome.stderr
    ranges = [wanted for method, path, wanted in hub.requests if (method, path) == ("GET", "gpt.pth")]
    assert [wanted.partition("-")[0] for wanted in ranges] == ["", f"bytes={10 << 20}"]
    assert (directory / "gpt.pth").read_bytes() == data


def test_a_damaged_file_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.damaged = {"s2mel.pth"}
    outcome = _run(hub, tmp_path / "model", "--accept-licence")
    assert outcome.returncode == 1
    assert "IndexTeam/IndexTTS-2 s2mel.pth" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "model" / "s2mel.pth").exists()
    hub.damaged = set()
    assert _run(hub, tmp_path / "model", "--accept-licence").returncode == 0


def test_a_repository_without_a_file_is_named(hub: FakeHub, tmp_path: Path) -> None:
    del hub.repositories["funasr/campplus"]["campplus_cn_common.bin"]
    outcome = _run(hub, tmp_path / "model", "--accept-licence")
    assert outcome.returncode == 1
    assert "funasr/campplus has no campplus_cn_common.bin" in outcome.stderr
    assert _downloads(hub) == []


def test_no_hub_is_one_line(tmp_path: Path) -> None:
    with FakeHub({}) as gone:
        pass
    outcome = _run(gone, tmp_path / "model", "--accept-licence")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("weights: the hub did not answer")
    assert outcome.stderr.count("\n") == 1


def test_a_lock_cannot_write_elsewhere(hub: FakeHub, tmp_path: Path) -> None:
    entry = {"repository": "x", "revision": "", "path": "x", "target": "../x", "size": 1, "sha256": "0"}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / LOCK_NAME).write_text(json.dumps({"files": [entry]}))
    outcome = _run(hub, tmp_path / "model", "--accept-licence")
    assert outcome.returncode == 1
    assert "outside the directory" in outcome.stderr


def test_a_vocoder_of_other_weights_is_made_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is not run here: whether it is asked for is what counts."""
    bigvgan = tmp_path / "hf_cache" / "bigvgan"
    bigvgan.mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("version: 2.0\n")
    (bigvgan / "config.json").write_bytes(b"{}")
    (bigvgan / "bigvgan_generator.pt").write_bytes(b"weights")
    (tmp_path / "vocoder.onnx").write_bytes(b"graph")
    manifest = Manifest(
        generator_sha256=file_sha256(bigvgan / "bigvgan_generator.pt"),
        config_sha256=file_sha256(bigvgan / "config.json"),
        onnx_sha256=file_sha256(tmp_path / "vocoder.onnx"),
        opset=18,
        weights="float32",
        num_bins=80,
        hop_length=256,
        max_difference=0.0,
        versions={},
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("made again"))
    (tmp_path / "vocoder.json").write_text(manifest.model_dump_json())
    vocoder.export(tmp_path)
    assert "here already" in capfd.readouterr().out

    exports: list[list[str]] = []

    def succeed(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        exports.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", succeed)
    (bigvgan / "bigvgan_generator.pt").write_bytes(b"other weights")
    vocoder.export(tmp_path)
    (tmp_path / "vocoder.json").unlink()
    vocoder.export(tmp_path)
    assert [command[-2:] for command in exports] == [["services.vocoder_worker.export", str(tmp_path)]] * 2
