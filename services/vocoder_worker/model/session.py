"""The vocoder graph in ONNX Runtime: mel in, waveform out."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.stage.spec import DeviceInfo
from services.vocoder_worker.model.manifest import Manifest, read_manifest

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


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
        """
        if mel.ndim != 2 or mel.shape[1] != self.num_bins:
            raise ValueError(f"mel must be (frames, {self.num_bins}), got {mel.shape}")
        if not len(mel):
            return np.zeros(0, np.float32)
        columns = np.ascontiguousarray(mel.T[None], dtype=np.float32)
        wave: NDArray[np.float32] = self._session.run(["wave"], {"mel": columns})[0]
        return wave.reshape(-1)


def load_vocoder(files: CheckpointFiles, *, device: str = "auto", threads: int = 1) -> VocoderSession:
    """Load `vocoder.onnx` after checking that it was made from this checkpoint.

    Args:
        files: the checkpoint.
        device: auto, cpu or cuda.
        threads: CPU threads of one call.

    Raises:
        CheckpointError: if the graph is missing or foreign, or the device is not to be had.
    """
    manifest = read_manifest(files)
    provider = _choose_provider(device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Threads that spin between calls would take the CPU from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(files.vocoder_onnx), options, providers=[provider])
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider:
        raise CheckpointError(f"ONNX Runtime took {used} instead of {provider}; set the device to cpu")
    return VocoderSession(session, manifest, _describe(provider))


def _choose_provider(device: str) -> str:
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise CheckpointError(
            f"device cuda is set, but this ONNX Runtime has only {', '.join(ort.get_available_providers())}"
        )
    return _CUDA if has_cuda and device != "cpu" else _CPU


def _describe(provider: str) -> DeviceInfo:
    if provider == _CUDA:
        return DeviceInfo(name="cuda:0", kind="cuda", provider=provider, dtype="float32")
    name = platform.processor() or platform.machine()
    return DeviceInfo(name=name, kind="cpu", provider=provider, dtype="float32")
