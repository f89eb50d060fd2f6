"""Linear layers of the trunk in each numeric mode. All take float32; what they give is the trunk's `dtype`.

GPT-2 stores weights as (in, out). Decoding one code reads every weight once, so the bytes of the weights are what it
costs: the modes differ in how they keep them. int8 weights with inputs rounded at each call would be faster still,
but chose another code than float32 in 0.9 % of teacher-forced steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.common.checkpoint import CheckpointError

_INITIAL_STD = 0.02


class InOutLinear(nn.Module):
    """float32, as stored; what training knows."""

    def __init__(self, inputs: int, outputs: int, std: float = _INITIAL_STD) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).normal_(std=std))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class ShortLinear(nn.Module):
    """Weights, products and results in half precision, for GPUs."""

    def __init__(self, source: InOutLinear, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", source.weight.detach().T.contiguous().to(dtype))
        self.register_buffer("bias", source.bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.get_buffer("weight")
        return F.linear(x.to(weight.dtype), weight, self.get_buffer("bias"))


class BFloat16Linear(nn.Module):
    """On the CPU: bfloat16 weights in oneDNN's own layout, products summed in float32."""

    def __init__(self, source: InOutLinear) -> None:
        super().__init__()
        weight = source.weight.detach().T.contiguous().bfloat16()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, 1)  # noqa: SLF001 - the operator's name
        self._bias = source.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - the operator's name
        y: Tensor = multiply(x.bfloat16(), self._packed, self._bias, "none", [], "")
        return y.float()


class Float16Linear(nn.Module):
    """On the CPU: float16 weights, all arithmetic in float32; exact where the checkpoint stores float16."""

    def __init__(self, source: InOutLinear) -> None:
        super().__init__()
        weight = source.weight.detach().T.contiguous().float()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, source.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16.default(x, self._packed)
        return y


def converted(source: InOutLinear, mode: str) -> nn.Module:
    """The layer in a numeric mode of `services.common.devices`, on the device that it is on.

    Raises:
        CheckpointError: The device has no such arithmetic.
    """
    if mode == "float32":
        return Float16Linear(source) if _is_stored_in_half(source.weight) else source
    if source.weight.is_cuda:
        return ShortLinear(source, getattr(torch, mode))
    if _has_fbgemm():
        # For bfloat16 too: as many bytes, read faster, and rounded less.
        return Float16Linear(source)
    if mode == "bfloat16":
        return BFloat16Linear(source)
    raise CheckpointError("dtype fp16 is set, but torch has no FBGEMM on this CPU; set fp32 or bf16")


def _is_stored_in_half(weight: Tensor) -> bool:
    """Whether float16 holds every weight as it is, so that half the bytes give the same products."""
    return _has_fbgemm() and not weight.is_cuda and torch.equal(weight.half().float(), weight)


def _has_fbgemm() -> bool:
    """Whether layers can be packed for FBGEMM, the fastest here for one row; torch would choose by itself."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    torch.backends.quantized.engine = "fbgemm"
    return True
