"""The device that a worker computes on; with `weights` the only torch in `common`."""

from __future__ import annotations

import platform

import torch

from services.common.checkpoint import CheckpointError
from services.common.stage.spec import DeviceInfo


def choose_device(wanted: str) -> torch.device:
    """Turn the setting auto, cpu or cuda into a device; always the first GPU that the process can see."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise CheckpointError("device cuda is set, but torch sees no GPU; set auto or cpu")
    return torch.device("cuda:0" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device, dtype: str = "float32") -> DeviceInfo:
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else platform.processor() or platform.machine()
    return DeviceInfo(name=name, kind=device.type, provider="torch", dtype=dtype)
