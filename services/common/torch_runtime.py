"""The device that a torch worker computes on."""

from __future__ import annotations

import torch

from services.common import devices
from services.common.checkpoint import CheckpointError
from services.common.stage.settings import StageSettings
from services.common.stage.slots import slots_that_fit
from services.common.stage.spec import DeviceInfo


def prepare(settings: StageSettings) -> torch.device:
    """Set threads and memory limit of this process and give its device.

    Raises:
        CheckpointError: The machine has no such device, less memory, or no such arithmetic.
    """
    torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    limit_memory(device, settings.gpu_memory_mb)
    mode = devices.numeric_mode(settings.dtype)
    if device.type == "cuda" and mode == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise CheckpointError(f"dtype bf16 is set, but {torch.cuda.get_device_name(device)} has none; set fp16 or fp32")
    return device


def choose_device(wanted: str) -> torch.device:
    """Turn the setting `device` into torch's device."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.device(str(devices.choose(wanted, num_gpus=num_gpus, runtime="torch")))


def limit_memory(device: torch.device, megabytes: int) -> None:
    """Let torch allocate no more than that on its GPU; the CUDA context comes on top of it."""
    total_bytes = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    chosen = devices.ComputeDevice("cuda" if device.type == "cuda" else "cpu", device.index or 0)
    limit = devices.limit_bytes(megabytes, chosen, total_bytes=total_bytes)
    if limit:
        torch.cuda.set_per_process_memory_fraction(limit / total_bytes, device)


def fitting_slots(
    settings: StageSettings, device: torch.device, *, stage: str, bytes_per_slot: int, reserved_bytes: int = 0
) -> int:
    """Return how many slots the settings and the memory limit allow, once the weights are loaded.

    Args:
        settings: With `slots` and `gpu_memory_mb`.
        device: Where the weights are.
        stage: The stage's name.
        bytes_per_slot: What a slot takes at its largest.
        reserved_bytes: What the engine takes besides, whatever the number of slots.

    Raises:
        CheckpointError: Not one slot fits.
    """
    is_cuda = device.type == "cuda"
    return slots_that_fit(
        settings.slots,
        stage=stage,
        limit_bytes=settings.gpu_memory_mb * 2**20 if is_cuda else 0,
        fixed_bytes=(torch.cuda.memory_allocated(device) if is_cuda else 0) + reserved_bytes,
        bytes_per_slot=bytes_per_slot,
    )


def describe_device(device: torch.device, dtype: str = "float32") -> DeviceInfo:
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else devices.cpu_name()
    return DeviceInfo(name=name, kind=device.type, provider="torch", dtype=dtype)
