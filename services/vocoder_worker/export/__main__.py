"""`python -m services.vocoder_worker.export CHECKPOINT_DIR`: write vocoder.onnx and its manifest.

The graph is compared with the torch network before anything is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.vocoder_worker.export.bigvgan import BigVgan, load_bigvgan
from services.vocoder_worker.export.graph import OPSET, build
from services.vocoder_worker.model.manifest import Manifest, file_sha256

TOLERANCE = {"float32": 1e-5, "float16": 5e-3}
"""Largest difference of a waveform in [-1, 1] that rounding explains."""

_PROBE_FRAMES = 40


def export(files: CheckpointFiles, *, is_half: bool = False) -> Manifest:
    """Write `vocoder.onnx` and `vocoder.json` into the checkpoint.

    Raises:
        CheckpointError: if weights do not fit, or the graph does not compute what the network does.
    """
    network = load_bigvgan(files)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    content = build(network.config, weights, is_half=is_half).SerializeToString(deterministic=True)
    difference = largest_difference(content, network)
    kind = "float16" if is_half else "float32"
    if difference > TOLERANCE[kind]:
        raise CheckpointError(f"the graph differs from the network by {difference:.1e} > {TOLERANCE[kind]}")
    _replace(files.vocoder_onnx, content)
    manifest = Manifest(
        generator_sha256=file_sha256(files.bigvgan),
        config_sha256=file_sha256(files.bigvgan_config),
        onnx_sha256=file_sha256(files.vocoder_onnx),
        opset=OPSET,
        weights="float16" if is_half else "float32",
        num_bins=network.config.num_bins,
        hop_length=network.config.hop,
        max_difference=float(f"{difference:.1e}"),
        versions={module.__name__: module.__version__ for module in (np, onnx, ort, torch)},
    )
    _replace(files.vocoder_manifest, (manifest.model_dump_json(indent=2) + "\n").encode())
    return manifest


@torch.inference_mode()
def largest_difference(content: bytes, network: BigVgan) -> float:
    """Between graph and network, on a made-up mel."""
    noise = np.random.default_rng(0).standard_normal((2, network.config.num_bins, _PROBE_FRAMES))
    mel = (2 * noise - 5).astype(np.float32)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    wave = session.run(["wave"], {"mel": mel})[0]
    return float(np.abs(wave - network(torch.from_numpy(mel)).numpy()).max())


def _replace(path: Path, content: bytes) -> None:
    """Never leave half a file behind."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    beside.replace(path)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.vocoder_worker.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="directory with a config.yaml")
    parser.add_argument("--half", action="store_true", help="store weights as float16; half the file")
    options = parser.parse_args(arguments)
    try:
        files = CheckpointFiles.locate(options.checkpoint)
        manifest = export(files, is_half=options.half)
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    size = files.vocoder_onnx.stat().st_size / 1e6
    sys.stdout.write(
        f"{files.vocoder_onnx}: {size:.1f} MB, {manifest.weights}, "
        f"differs from torch by at most {manifest.max_difference}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
