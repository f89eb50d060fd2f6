"""The device that a torch worker computes on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from services.common import devices
from services.common.checkpoint import CheckpointError
from services.common.stage.settings import StageSettings
from services.common.stage.slots import MEBIBYTE, Demand, less_memory, slots_that_fit
from services.common.stage.spec import DeviceInfo

_SHARE_OF_BLOCKS = 16
"""Torch takes memory in blocks, of which a part stays empty: one of so many bytes, as an allowance."""


PRIMITIVES = 256
"""Compiled products of bfloat16 that oneDNN keeps, one for each shape, of 0.7 MB: enough for the windows of a policy,
and a bound, which its default of 1024 hardly is, where renders are of all lengths."""


def prepare(settings: StageSettings) -> torch.device:
    """Set threads and memory limit of this process and give its device.

    Raises:
        CheckpointError: The machine has no such device, less memory, or no such arithmetic.
    """
    torch.set_num_threads(settings.threads)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))
    device = choose_device(settings.device)
    limit_memory(device, settings.gpu_memory_mb)
    needs_bfloat16 = device.type == "cuda" and settings.dtype in {"bf16", "mixed"}
    if needs_bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise CheckpointError(f"dtype {settings.dtype} is set, but {name} has no bf16; set fp16 or fp32")
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


def fitting_slots(settings: StageSettings, device: torch.device, *, stage: str, demand: Demand) -> int:
    """Return how many slots the settings and the memory limit allow, once the weights are loaded.

    Args:
        settings: With `slots`, `gpu_memory_mb` and `memory_savers`.
        device: Where the weights are.
        stage: The stage's name.
        demand: What the stage takes beside its weights.

    Raises:
        CheckpointError: Not one slot fits.
    """
    is_cuda = device.type == "cuda"
    weights = torch.cuda.memory_allocated(device) if is_cuda else 0

    def with_weights(slots: int) -> Mapping[str, int]:
        parts = {"weights": weights, **demand(slots)}
        return parts | {"blocks": sum(parts.values()) // _SHARE_OF_BLOCKS}

    limit = settings.gpu_memory_mb * MEBIBYTE if is_cuda else 0
    return slots_that_fit(
        settings.slots, stage=stage, limit_bytes=limit, demand=with_weights, savers=settings.memory_savers
    )


@contextmanager
def enough_memory(stage: str, device: torch.device, purpose: str, savers: Sequence[str] = ()) -> Iterator[None]:
    """Turn a failed allocation at the start into an error that says what there is, what is wanted and what to lower.

    Args:
        stage: The stage's name, for the message.
        device: Where it computes.
        purpose: What the memory is for, as in "to warm up".
        savers: The stage's own settings that take less.

    Raises:
        CheckpointError: There was not enough.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
        more = f" and needs {wanted[1]} more" if wanted else ""
        raise CheckpointError(
            f"the {stage} worker has not the memory on {device} to {purpose}: it {_memory_there(device)}{more}; "
            f"raise gpu_memory_mb where it is the limit, free the device of others, or choose {less_memory(savers)}"
        ) from None


def _memory_there(device: torch.device) -> str:
    """What this process holds, may hold, and what else there is, for messages."""
    if device.type != "cuda":
        return "holds all that there is"
    free, total = torch.cuda.mem_get_info(device)
    allowed = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    held, allowed, free, total = (
        size // MEBIBYTE for size in (torch.cuda.memory_reserved(device), allowed, free, total)
    )
    return f"holds {held} MiB of the {allowed} that it may take, with {free} of {total} free on the device,"


def describe_device(device: torch.device, dtype: str = "float32") -> DeviceInfo:
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else devices.cpu_name()
    return DeviceInfo(name=name, kind=device.type, provider="torch", dtype=dtype)
