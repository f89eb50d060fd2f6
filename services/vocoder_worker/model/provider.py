"""Which execution provider of ONNX Runtime computes, and with which settings; a missing GPU is an error here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from services.common import devices, memory
from services.common.checkpoint import CheckpointError
from services.common.devices import ComputeDevice

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

GPU_BATCH = 16
"""Windows of one length that share a call on a GPU; on a CPU they would only wait for each other."""

_LONGEST_WINDOW = 2048
"""Frames up to which TensorRT builds its engine; a longer one makes it build again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings ask for; see `VocoderWorkerSettings`."""

    device: str = "auto"
    gpu_provider: Literal["cuda", "tensorrt"] = "cuda"
    mode: str = "float32"
    """float32, float16 or bfloat16: what the pipeline computes in."""
    gpu_memory_mb: int = 0
    tensorrt_cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    device: ComputeDevice
    settings: dict[str, str]
    dtype: str
    """What the graph's arithmetic is in."""
    limit_bytes: int
    """The most that the graph's tensors may take; 0 is no limit."""

    @property
    def batch_limit(self) -> int:
        return 1 if self.device.kind == "cpu" else GPU_BATCH

    @property
    def names(self) -> list[str | tuple[str, dict[str, str]]]:
        """What ONNX Runtime is given; what TensorRT cannot run, CUDA does, and never the CPU in silence."""
        first = (self.name, self.settings)
        if self.name == TENSORRT:
            return [first, (CUDA, {"device_id": self.settings["device_id"]})]
        return [first]


def choose(wanted: Wanted, *, num_bins: int) -> Provider:
    """Turn what the settings ask for into a provider.

    Raises:
        CheckpointError: a GPU or a provider is asked for that is not to be had.
    """
    name = TENSORRT if wanted.gpu_provider == "tensorrt" else CUDA
    is_there = name in ort.get_available_providers()
    device = devices.choose(
        wanted.device,
        num_gpus=memory.num_visible_gpus() if is_there else 0,
        runtime="ONNX Runtime" if is_there else f"ONNX Runtime without {name}",
    )
    total_bytes = memory.device_memory(device.kind, device.index).total_bytes
    limit = devices.limit_bytes(wanted.gpu_memory_mb, device, total_bytes=total_bytes)
    if device.kind == "cpu":
        if wanted.gpu_provider == "tensorrt":
            raise CheckpointError(
                "gpu_provider tensorrt is set, but the device is the CPU; set gpu_provider cuda, or device cuda"
            )
        return Provider(CPU, device, {}, "float32", 0)
    if name == TENSORRT:
        return _tensorrt(wanted, device, limit, num_bins)
    return Provider(CUDA, device, _cuda_settings(wanted, device, limit), "float32", limit)


def _cuda_settings(wanted: Wanted, device: ComputeDevice, limit: int) -> dict[str, str]:
    settings = {
        "device_id": str(device.index),
        # The exhaustive search, ONNX Runtime's own choice, takes seconds for each new length of a window.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Its 10 bits would cost more samples than the design allows; half precision has asked for them.
        "use_tf32": str(int(wanted.mode in {"float16", "bfloat16"})),
    }
    if limit:
        # By default the arena doubles at each growth and would pass the limit long before it is needed.
        settings |= {"gpu_mem_limit": str(limit), "arena_extend_strategy": "kSameAsRequested"}
    return settings


def _tensorrt(wanted: Wanted, device: ComputeDevice, limit: int, num_bins: int) -> Provider:
    is_half = wanted.mode == "float16"
    settings = {
        "device_id": str(device.index),
        "trt_fp16_enable": str(is_half),
        # Without these it builds an engine for the first length that it meets, and again for every other one.
        "trt_profile_min_shapes": f"mel:1x{num_bins}x1",
        "trt_profile_opt_shapes": f"mel:1x{num_bins}x128",
        "trt_profile_max_shapes": f"mel:{GPU_BATCH}x{num_bins}x{_LONGEST_WINDOW}",
    }
    if limit:
        settings |= {"trt_max_workspace_size": str(limit // 2)}
    if wanted.tensorrt_cache_dir is not None:
        settings |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(wanted.tensorrt_cache_dir)}
    return Provider(TENSORRT, device, settings, "float16" if is_half else "float32", limit)
