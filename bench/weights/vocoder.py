"""Makes vocoder.onnx of the weights that were fetched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.weights.errors import WeightsError
from services.common.checkpoint import CheckpointError, CheckpointFiles, load_config
from services.vocoder_worker.model.manifest import read_manifest


def export(directory: Path) -> None:
    """Make vocoder.onnx unless there is one that was made of this directory's weights.

    Raises:
        WeightsError: if it cannot be made.
    """
    try:
        read_manifest(CheckpointFiles.locate(directory, load_config(directory)))
    except CheckpointError:
        # It is missing, or was made of another generator; the export says when something else is wrong.
        print("making vocoder.onnx")
    else:
        print("vocoder.onnx is here already, made from these weights")
        return
    command = [sys.executable, "-m", "services.vocoder_worker.export", str(directory)]
    if subprocess.run(command, check=False).returncode != 0:
        raise WeightsError("vocoder.onnx could not be made; the lines above say why")
