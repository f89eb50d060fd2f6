"""The memory of a CUDA device."""

from __future__ import annotations

import gc

import torch


class CudaMeter:
    """See `gpu_memory.Meter`.

    Args:
        device: Such as ``cuda:0``; nothing else should run on it.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        torch.zeros(1, device=self._device)  # From here on there is a context.

    def held(self) -> int:
        torch.cuda.synchronize(self._device)
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free

    def peak_allocated(self) -> int:
        return torch.cuda.max_memory_allocated(self._device)

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)

    def forget(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()

    def limit(self, num_bytes: int | None) -> None:
        total = torch.cuda.get_device_properties(self._device).total_memory
        share = 1.0 if num_bytes is None else min(1.0, max(0.0, num_bytes / total))
        torch.cuda.set_per_process_memory_fraction(share, self._device)
