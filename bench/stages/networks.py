"""Networks with random values, made in memory: no checkpoint of this size has to lie on the disk."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bench.stages.random_values import tensor
from bench.stages.workload import Sizes

_SEED = 1


def fill(module: nn.Module, prefix: str = "", device: str = "cpu") -> None:
    """Give a module that was built on the meta device memory and values, for evaluation.

    Args:
        module: what to fill, in place.
        prefix: what stands before its names in the official files; scales depend on it.
        device: where its memory is to be.
    """
    generator = torch.Generator().manual_seed(_SEED)
    state = {}
    for name, value in module.state_dict().items():
        dtype = str(value.dtype).removeprefix("torch.")
        state[name] = tensor(f"{prefix}{name}", tuple(value.shape), dtype, generator).to(device)
    module.load_state_dict(state, assign=True)
    module.eval().requires_grad_(requires_grad=False)


def noise(*shape: int, scale: float = 1.0) -> Tensor:
    values = np.random.default_rng(_SEED).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.float32(scale) * values)


def made_up_mel(sizes: Sizes, num_frames: int) -> Tensor:
    """(num_frames, bins) in the range of speech."""
    return noise(num_frames, int(sizes.bigvgan["num_mels"])) - 5
