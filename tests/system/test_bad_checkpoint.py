"""Checkpoints that cannot be served: the process says why and ends, and nothing of them is executed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.system.conftest import MODEL_DIR


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the embedded checkpoint, to be spoilt."""
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "copy"))


def refusal(service: str, directory: Path, *flags: str) -> str:
    """What a worker says that does not start on this directory."""
    options = ["--model-dir", str(directory), "--address", "127.0.0.1:0", "--metrics-port", "0"]
    command = [sys.executable, "-m", f"services.{service}", *options, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


class Malice:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_missing_file_is_named(checkpoint: Path) -> None:
    (checkpoint / "hf_cache" / "bigvgan" / "bigvgan_generator.pt").unlink()

    assert "bigvgan_generator.pt" in refusal("vocoder_worker", checkpoint)


def test_an_unknown_version_is_named_with_the_known_ones(checkpoint: Path) -> None:
    config = checkpoint / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("version: 2.0", "version: 2.5"), "utf-8")

    assert "version = 2.5 is not known; known: 2.0" in refusal("gpt_worker", checkpoint)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("service", ["gpt_worker", "vocoder_worker"])
def test_a_gpu_that_is_not_there_is_no_reason_to_take_the_cpu(service: str) -> None:
    assert "device cuda is set" in refusal(service, Path(MODEL_DIR), "--device", "cuda")


def test_a_graph_of_another_generator_is_refused(checkpoint: Path) -> None:
    with (checkpoint / "hf_cache" / "bigvgan" / "bigvgan_generator.pt").open("ab") as file:
        file.write(b"x")

    assert "make vocoder.onnx again" in refusal("vocoder_worker", checkpoint)


def test_bad_keys_are_named(checkpoint: Path) -> None:
    path = checkpoint / "s2mel.pth"
    state = torch.load(path, weights_only=True)
    regulator = state["net"]["length_regulator"]
    regulator["surprise.weight"] = regulator.pop("content_in_proj.weight")
    torch.save(state, path)
    said = refusal("s2mel_worker", checkpoint)

    assert "surprise.weight" in said
    assert "content_in_proj.weight" in said


def test_a_pickle_with_code_is_refused_and_not_run(checkpoint: Path) -> None:
    (checkpoint / "gpt.pth").write_bytes(pickle.dumps(Malice(checkpoint / "executed")))

    assert "gpt.pth" in refusal("gpt_worker", checkpoint)
    assert not (checkpoint / "executed").exists()
