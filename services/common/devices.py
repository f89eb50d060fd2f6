"""Where a worker computes and in which numbers: what the settings say, against what the machine has. No torch."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from services.common.checkpoint import CheckpointError

logger = structlog.get_logger(__name__)

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")

_NUMERIC_MODES = {"auto": "float32", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "mixed": "mixed"}


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A device as this process numbers it: cuda:0 is the first GPU that it can see."""

    kind: Literal["cpu", "cuda"]
    index: int = 0

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else "cpu"


def checked_device(value: str) -> str:
    """Let the spellings of the setting `device` pass.

    Raises:
        ValueError: It is none of them; `mps` with the reason.
    """
    if value.partition(":")[0] == "mps":
        raise ValueError("mps is not supported: Apple GPUs lack float64, and nothing here was tested on one; use cpu")
    if not _DEVICE.fullmatch(value):
        raise ValueError("must be auto, cpu, cuda, or cuda:N with the number of a GPU, such as cuda:0")
    return value


def device_index(value: str) -> int:
    """The GPU's number that a spelling of the setting `device` means; 0 unless it says another."""
    return int(value.partition(":")[2] or 0)


def choose(wanted: str, *, num_gpus: int, runtime: str) -> ComputeDevice:
    """Turn the setting `device` into a device; `auto` takes the first GPU, or the CPU and says so in the log.

    Args:
        wanted: auto, cpu, cuda or cuda:N.
        num_gpus: GPUs that the runtime can use.
        runtime: What computes, such as ``torch``, for messages.

    Raises:
        CheckpointError: A GPU is asked for that is not there.
    """
    if wanted == "cpu":
        return ComputeDevice("cpu")
    if wanted == "auto":
        if num_gpus:
            return ComputeDevice("cuda")
        logger.info("device_is_cpu", wanted=wanted, reason=f"{runtime} sees no GPU")
        return ComputeDevice("cpu")
    if not num_gpus:
        raise CheckpointError(f"device {wanted} is set, but {runtime} sees no GPU; set auto or cpu")
    index = device_index(wanted)
    if index >= num_gpus:
        known = "cuda:0" if num_gpus == 1 else f"cuda:0 to cuda:{num_gpus - 1}"
        raise CheckpointError(f"device {wanted} is set, but {runtime} sees {num_gpus} GPU(s): {known}")
    return ComputeDevice("cuda", index)


def numeric_mode(dtype: str) -> str:
    """What the setting `dtype` means: float32, float16, bfloat16 or mixed; the word that goes into the revision.

    `auto` is float32 on every device, CUDA too, until half precision has been measured there: codes may
    flip, and a stream could no longer be continued by a worker that computes otherwise.
    """
    return _NUMERIC_MODES[dtype]


def stage_dtype(mode: str, stage: str) -> str:
    """What a stage computes in under a pipeline's numeric mode: float32, float16 or bfloat16.

    In `mixed` the stage that does most of the arithmetic and feeds nothing back into itself, S2Mel, takes the short
    type: an error stays as small as it is, whereas a code that flips changes all that follow.
    """
    if mode == "mixed":
        return "bfloat16" if stage == "s2mel" else "float32"
    return mode


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by itself; elsewhere it is emulated, and slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def limit_bytes(megabytes: int, device: ComputeDevice, *, total_bytes: int) -> int:
    """Turn the setting `gpu_memory_mb` into bytes; 0 is no limit, as on a CPU, where the log says so.

    Raises:
        CheckpointError: The device has less.
    """
    if not megabytes:
        return 0
    if device.kind == "cpu":
        logger.info("gpu_memory_limit_ignored", gpu_memory_mb=megabytes, device=str(device))
        return 0
    if total_bytes and megabytes * 2**20 > total_bytes:
        raise CheckpointError(f"gpu_memory_mb is {megabytes}, but {device} has {total_bytes // 2**20}")
    return megabytes * 2**20


def cpu_name() -> str:
    """What the maker calls this machine's CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
