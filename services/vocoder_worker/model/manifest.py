"""`vocoder.json`: which checkpoint `vocoder.onnx` was made from, and how.

Written by the export, read by the worker before it loads a graph.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.checkpoint.twins import source_sha256

EXPORT_COMMAND = "python -m services.vocoder_worker.export"


class Manifest(BaseModel):
    """The content of `vocoder.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    generator_sha256: str
    """Of the BigVGAN weights that the graph was made from; a `.safetensors` twin may say that it was made from them."""
    config_sha256: str
    """Of their config.json."""
    onnx_sha256: str
    opset: int
    weights: Literal["float32", "float16"]
    """How weights are stored; all arithmetic is float32."""
    num_bins: int
    hop_length: int
    """Samples per mel frame."""
    max_difference: float
    """Largest difference from the torch network, found when exporting; of a waveform in [-1, 1]."""
    versions: dict[str, str]
    """Libraries that made the graph."""


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(files: CheckpointFiles) -> Manifest:
    """Read the manifest and hold it against the files it speaks of.

    Raises:
        CheckpointError: if a file is missing, or is not the one that the manifest names.
    """
    files.require("vocoder_onnx", "vocoder_manifest", "bigvgan", "bigvgan_config")
    try:
        manifest = Manifest.model_validate_json(files.vocoder_manifest.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{files.vocoder_manifest}: not a vocoder manifest: {error}") from error
    expected = {
        files.bigvgan: manifest.generator_sha256,
        files.bigvgan_config: manifest.config_sha256,
        files.vocoder_onnx: manifest.onnx_sha256,
    }
    strangers = [
        path.name for path, digest in expected.items() if digest not in (file_sha256(path), source_sha256(path))
    ]
    if strangers:
        raise CheckpointError(
            f"{files.vocoder_manifest} does not speak of this {', '.join(strangers)}; "
            f"make vocoder.onnx again: {EXPORT_COMMAND} {files.directory}"
        )
    return manifest
