"""`vocoder.onnx`: equal to the network, the same bytes every time, refused where it is foreign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.devices import ComputeDevice
from services.common.errors import OverloadedError
from services.common.twin import write_twin
from services.vocoder_worker.export.__main__ import export, main
from services.vocoder_worker.export.bigvgan import BigVgan
from services.vocoder_worker.export.graph import build
from services.vocoder_worker.model.calls import CAPACITY, BoundCalls
from services.vocoder_worker.model.manifest import file_sha256, read_manifest
from services.vocoder_worker.model.provider import Wanted, choose
from services.vocoder_worker.model.session import VocoderSession, load_vocoder
from tests.model.vocoder.conftest import CONFIG


@pytest.fixture
def copy(files: CheckpointFiles, tmp_path: Path) -> CheckpointFiles:
    shutil.copytree(files.directory, tmp_path / "copy")
    return CheckpointFiles.locate(tmp_path / "copy")


@pytest.fixture(scope="module")
def session(files: CheckpointFiles) -> Any:
    return ort.InferenceSession(str(files.vocoder_onnx), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 2), (3, 5), (1, 200)])
def test_graph_equals_the_network(session: Any, network: BigVgan, batch: int, frames: int) -> None:
    mel = torch.randn(batch, 80, frames, generator=torch.Generator().manual_seed(frames))
    wave = session.run(["wave"], {"mel": mel.numpy()})[0]
    assert wave.shape == (batch, 1, 8 * frames)
    # The file holds weight norm, so its fused weights are rounded once more.
    np.testing.assert_allclose(wave, network(mel).numpy(), rtol=0, atol=3e-6)


def test_items_of_a_batch_equal_their_own_runs(session: Any) -> None:
    mel = np.random.default_rng(1).standard_normal((3, 80, 20)).astype(np.float32)
    together = session.run(None, {"mel": mel})[0]
    for row in range(3):
        np.testing.assert_allclose(session.run(None, {"mel": mel[row : row + 1]})[0][0], together[row], atol=2e-6)


def test_session_takes_frames_first(vocoder: VocoderSession, network: BigVgan) -> None:
    mels = np.random.default_rng(2).standard_normal((2, 9, 80)).astype(np.float32)
    expected = network(torch.from_numpy(mels.transpose(0, 2, 1).copy())).numpy()[:, 0]
    np.testing.assert_allclose(vocoder(mels), expected, rtol=0, atol=3e-6)
    assert (vocoder.hop_length, vocoder.num_bins, vocoder.batch_limit) == (8, 80, 1)
    assert (vocoder.device.kind, vocoder.device.provider) == ("cpu", "CPUExecutionProvider")
    assert vocoder(mels[:, :0]).shape == (2, 0)
    for other in (mels[0], mels.transpose(0, 2, 1)):
        with pytest.raises(ValueError, match="mels must be"):
            vocoder(other)


def test_the_same_weights_give_the_same_bytes(files: CheckpointFiles, copy: CheckpointFiles) -> None:
    copy.vocoder_onnx.unlink()
    export(copy)
    assert copy.vocoder_onnx.read_bytes() == files.vocoder_onnx.read_bytes()


def test_half_precision_only_stores(network: BigVgan, files: CheckpointFiles) -> None:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    content = build(network.config, weights, is_half=True).SerializeToString()
    # The rest of so small a graph is nodes.
    assert len(content) < 0.8 * files.vocoder_onnx.stat().st_size
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    mel = torch.randn(1, 80, 20, generator=torch.Generator().manual_seed(1))
    wave = session.run(["wave"], {"mel": mel.numpy()})[0]
    difference = np.abs(wave - network(mel).numpy()).max()
    assert 1e-6 < difference < 5e-3


@pytest.mark.parametrize("changed", ["bigvgan", "bigvgan_config", "vocoder_onnx"])
def test_a_graph_of_another_checkpoint_is_refused(copy: CheckpointFiles, changed: str) -> None:
    path: Path = getattr(copy, changed)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=rf"{path.name}; make vocoder.onnx again"):
        load_vocoder(copy)


def test_a_twin_of_the_weights_is_as_good_as_they_are(copy: CheckpointFiles) -> None:
    write_twin(copy.bigvgan)
    copy.bigvgan.unlink()
    files = CheckpointFiles.locate(copy.directory)

    assert files.bigvgan.suffix == ".safetensors"
    assert read_manifest(files).generator_sha256 != file_sha256(files.bigvgan)
    export(files)
    assert read_manifest(files).generator_sha256 == file_sha256(files.bigvgan)


def test_a_twin_of_other_weights_is_refused(copy: CheckpointFiles) -> None:
    state = torch.load(copy.bigvgan, weights_only=True)
    state["generator"]["conv_post.bias"] = torch.zeros(1)
    torch.save(state, copy.bigvgan)
    write_twin(copy.bigvgan)

    with pytest.raises(CheckpointError, match=r"bigvgan_generator\.safetensors; make vocoder.onnx again"):
        load_vocoder(CheckpointFiles.locate(copy.directory))


def test_a_missing_graph_is_named(copy: CheckpointFiles) -> None:
    copy.vocoder_onnx.unlink()
    with pytest.raises(CheckpointError, match=r"missing vocoder\.onnx"):
        load_vocoder(copy)


def test_a_damaged_manifest_is_refused(copy: CheckpointFiles) -> None:
    content = json.loads(copy.vocoder_manifest.read_text())
    copy.vocoder_manifest.write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(CheckpointError, match="not a vocoder manifest"):
        load_vocoder(copy)


class Failing:
    """A graph that fails with a message."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, columns: object) -> Any:
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9", OverloadedError),
        ("CUDA failure 2: out of memory ; GPU=0", OverloadedError),
        ("Non-zero status code returned while running Conv node", RuntimeError),
    ],
)
def test_a_gpu_without_memory_is_an_overload(files: CheckpointFiles, message: str, error: type[Exception]) -> None:
    on_cpu = choose(Wanted(device="cpu"), num_bins=80)
    broken = VocoderSession(Failing(message), read_manifest(files), on_cpu)
    with pytest.raises(error):
        broken(np.zeros((1, 2, broken.num_bins), np.float32))


def test_bound_buffers_give_what_a_plain_call_gives(session: Any) -> None:
    """And a shape that comes again, or after others were forgotten, does not see what came before."""
    bound = BoundCalls(session, ComputeDevice("cpu"), hop_length=8)
    random = np.random.default_rng(5)
    first = None
    for frames in (12, 12, 5, *range(20, 20 + CAPACITY), 12):
        columns = random.standard_normal((2, 80, frames)).astype(np.float32)
        waves = bound(columns)
        assert np.array_equal(waves, session.run(["wave"], {"mel": columns})[0])
        first = waves if first is None else first
    assert len(bound._bound) == CAPACITY
    assert first is not None
    assert first.std() > 1e-3


def test_command_writes_graph_and_manifest(copy: CheckpointFiles, capsys: pytest.CaptureFixture[str]) -> None:
    copy.vocoder_onnx.unlink()
    copy.vocoder_manifest.unlink()
    assert main([str(copy.directory)]) == 0
    assert "differs from torch by at most" in capsys.readouterr().out
    assert read_manifest(copy).weights == "float32"


def test_command_names_what_is_missing(copy: CheckpointFiles, capsys: pytest.CaptureFixture[str]) -> None:
    copy.bigvgan.unlink()
    assert main([str(copy.directory)]) == 1
    assert "bigvgan_generator.pt" in capsys.readouterr().err


def test_config_of_the_fixture_is_what_the_manifest_says(files: CheckpointFiles) -> None:
    manifest = json.loads(files.vocoder_manifest.read_text())
    assert manifest["num_bins"] == CONFIG["num_mels"]
    assert manifest["opset"] == 18
    assert set(manifest["versions"]) == {"numpy", "onnx", "onnxruntime", "torch"}
