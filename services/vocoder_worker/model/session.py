"""The vocoder graph in ONNX Runtime: mel in, waveform out."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from services.common import devices, memory
from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.devices import ComputeDevice, cpu_name
from services.common.errors import OverloadedError
from services.common.stage.spec import DeviceInfo
from services.vocoder_worker.model.manifest import Manifest, read_manifest

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_OUT_OF_MEMORY = re.compile(r"Failed to allocate memory|Available memory of \d+|out of memory", re.IGNORECASE)
"""ONNX Runtime has no class for this error, only these words of its arena and of CUDA."""


class VocoderSession:
    """A loaded vocoder. Calls may come from several threads at once."""

    def __init__(self, session: Any, manifest: Manifest, device: DeviceInfo) -> None:
        self._session = session
        self.num_bins = manifest.num_bins
        self.hop_length = manifest.hop_length
        """Samples per mel frame."""
        self.device = device

    def __call__(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mel (T, bins) to waveform (hop_length * T,) in [-1, 1].

        Raises:
            ValueError: if the mel has another number of bins.
            OverloadedError: if the device has no memory for so many frames.
        """
        if mel.ndim != 2 or mel.shape[1] != self.num_bins:
            raise ValueError(f"mel must be (frames, {self.num_bins}), got {mel.shape}")
        if not len(mel):
            return np.zeros(0, np.float32)
        columns = np.ascontiguousarray(mel.T[None], dtype=np.float32)
        try:
            wave: NDArray[np.float32] = self._session.run(["wave"], {"mel": columns})[0]
        except Exception as error:
            if not _OUT_OF_MEMORY.search(str(error)):
                raise
            raise OverloadedError("the GPU has no memory left for this step", stage="vocoder") from error
        return wave.reshape(-1)


def load_vocoder(
    files: CheckpointFiles, *, device: str = "auto", threads: int = 1, gpu_memory_mb: int = 0
) -> VocoderSession:
    """Load `vocoder.onnx` after checking that it was made from this checkpoint.

    Args:
        files: the checkpoint.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads of one call.
        gpu_memory_mb: the most that the graph's tensors may take on a GPU, in MiB; 0 sets no limit.

    Raises:
        CheckpointError: if the graph is missing or foreign, or the device is not to be had.
    """
    manifest = read_manifest(files)
    has_cuda = _CUDA in ort.get_available_providers()
    chosen = devices.choose(
        device,
        num_gpus=memory.num_visible_gpus() if has_cuda else 0,
        runtime="ONNX Runtime" if has_cuda else f"ONNX Runtime without {_CUDA}",
    )
    provider, settings = _provider(chosen, gpu_memory_mb)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Threads that spin between calls would take the CPU from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(files.vocoder_onnx), options, providers=[(provider, settings)])
    except Exception as error:  # ONNX Runtime's errors have no class of their own
        raise CheckpointError(f"{files.vocoder_onnx}: ONNX Runtime cannot run it on {chosen}: {error}") from error
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider:
        raise CheckpointError(f"ONNX Runtime took {used} instead of {provider}; set the device to cpu")
    return VocoderSession(session, manifest, _describe(chosen, provider))


def _provider(device: ComputeDevice, gpu_memory_mb: int) -> tuple[str, dict[str, str]]:
    """Name and settings of ONNX Runtime's execution provider for a device."""
    total_bytes = memory.device_memory(device.kind, device.index).total_bytes
    limit = devices.limit_bytes(gpu_memory_mb, device, total_bytes=total_bytes)
    if device.kind == "cpu":
        return _CPU, {}
    settings = {"device_id": str(device.index)}
    if limit:
        # By default the arena doubles at each growth and would pass the limit long before it is needed.
        settings |= {"gpu_mem_limit": str(limit), "arena_extend_strategy": "kSameAsRequested"}
    return _CUDA, settings


def _describe(device: ComputeDevice, provider: str) -> DeviceInfo:
    """All arithmetic of the graph is float32, however its weights are stored."""
    name = cpu_name() if device.kind == "cpu" else str(device)
    return DeviceInfo(name=name, kind=device.kind, provider=provider, dtype="float32")
