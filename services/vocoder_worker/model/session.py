"""The vocoder graph in ONNX Runtime: mel in, waveform out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.devices import cpu_name
from services.common.errors import OverloadedError
from services.common.stage.spec import DeviceInfo
from services.vocoder_worker.model import provider
from services.vocoder_worker.model.calls import BoundCalls
from services.vocoder_worker.model.manifest import Manifest, read_manifest
from services.vocoder_worker.model.provider import Provider, Wanted

_OUT_OF_MEMORY = re.compile(r"Failed to allocate memory|Available memory of \d+|out of memory", re.IGNORECASE)
"""ONNX Runtime has no class for this error, only these words of its arena and of CUDA."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Columns (B, bins, T) to waveforms (B, 1, hop_length * T)."""


class VocoderSession:
    """A loaded vocoder. One call at a time."""

    def __init__(self, run: Run, manifest: Manifest, chosen: Provider) -> None:
        self._run = run
        self.num_bins = manifest.num_bins
        self.hop_length = manifest.hop_length
        """Samples per mel frame."""
        self.batch_limit = chosen.batch_limit
        """The most windows of one length that one call should share."""
        self.memory_limit_bytes = chosen.limit_bytes
        self.device = _describe(chosen)

    def __call__(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mels (B, T, bins) to waveforms (B, hop_length * T) in [-1, 1].

        Raises:
            ValueError: if the mels have another number of bins.
            OverloadedError: if the device has no memory for so many frames.
        """
        if mels.ndim != 3 or mels.shape[2] != self.num_bins:
            raise ValueError(f"mels must be (batch, frames, {self.num_bins}), got {mels.shape}")
        if not mels.size:
            return np.zeros((len(mels), 0), np.float32)
        columns = np.ascontiguousarray(mels.transpose(0, 2, 1), dtype=np.float32)
        try:
            waves = self._run(columns)
        except Exception as error:
            if not _OUT_OF_MEMORY.search(str(error)):
                raise
            raise OverloadedError("the GPU has no memory left for this step", stage="vocoder") from error
        return waves[:, 0]


def load_vocoder(files: CheckpointFiles, wanted: Wanted | None = None, *, threads: int = 1) -> VocoderSession:
    """Load `vocoder.onnx` after checking that it was made from this checkpoint.

    Args:
        files: the checkpoint.
        wanted: device, provider and memory; the first GPU or else the CPU unless given.
        threads: CPU threads of one call.

    Raises:
        CheckpointError: if the graph is missing or foreign, or the device is not to be had.
    """
    manifest = read_manifest(files)
    chosen = provider.choose(wanted or Wanted(), num_bins=manifest.num_bins)
    try:
        session = ort.InferenceSession(str(files.vocoder_onnx), session_options(threads), providers=chosen.names)
    except Exception as error:  # ONNX Runtime's errors have no class of their own
        raise CheckpointError(
            f"{files.vocoder_onnx}: ONNX Runtime cannot run it on {chosen.device}: {error}"
        ) from error
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != chosen.name:
        raise CheckpointError(f"ONNX Runtime took {used} instead of {chosen.name}; set the device to cpu")
    return VocoderSession(_run(session, chosen, manifest.hop_length), manifest, chosen)


def session_options(threads: int) -> ort.SessionOptions:
    """How every session of the vocoder computes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Threads that spin between calls would take the CPU from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _run(session: Any, chosen: Provider, hop_length: int) -> Run:
    """On a GPU with bound buffers; on a CPU there is nothing to copy."""
    if chosen.device.kind == "cuda":
        return BoundCalls(session, chosen.device, hop_length=hop_length)

    def run(columns: NDArray[np.float32]) -> NDArray[np.float32]:
        waves: NDArray[np.float32] = session.run(["wave"], {"mel": columns})[0]
        return waves

    return run


def _describe(chosen: Provider) -> DeviceInfo:
    """The dtype is that of the arithmetic, however weights are stored."""
    name = cpu_name() if chosen.device.kind == "cpu" else str(chosen.device)
    return DeviceInfo(name=name, kind=chosen.device.kind, provider=chosen.name, dtype=chosen.dtype)
