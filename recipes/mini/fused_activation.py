"""Puts the fused CPU kernel in the place of BigVGAN's activations, for training only."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.cpp_extension import load

from recipes.mini import paths


@cache
def kernel() -> Any:
    """Compile once; the build is kept outside the tree."""
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(paths.STATE / "extensions"))
    flags = ["-O3", "-march=native", "-ffast-math", "-mprefer-vector-width=512", "-fopenmp"]
    source = Path(__file__).with_suffix(".cpp")
    return load("triptych_fused_activation", [str(source)], extra_cflags=flags, verbose=False)


class FusedFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, inverse_beta: Tensor, taps: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, alpha, inverse_beta, taps)
        out: Tensor = kernel().forward(x, alpha, inverse_beta, taps)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        grad_x, grad_alpha, grad_beta = kernel().backward(*ctx.saved_tensors, grads[0].contiguous())
        return grad_x, grad_alpha, grad_beta, None


def fused_forward(activation: nn.Module) -> Any:
    """A forward for one anti-aliased activation that reads the module's own parameters and filter."""
    act: Any = activation.act
    taps = activation.get_submodule("upsample").get_buffer("filter").detach().flatten().contiguous()

    def forward(x: Tensor) -> Tensor:
        out: Tensor = FusedFunction.apply(x, act.alpha.exp(), 1 / (act.beta.exp() + 1e-9), taps)
        return out

    return forward


def fuse(generator: nn.Module) -> None:
    """Replace the forward of every activation; state names do not change."""
    for module in generator.modules():
        if hasattr(module, "act") and hasattr(module, "upsample") and hasattr(module, "downsample"):
            module.forward = fused_forward(module)
