"""The GPT-2 trunk (§6.4): no position table of its own, final LayerNorm included.

Letters: B batch, T positions, H heads, d head width, D width. `forward` serves training and whole
sequences; `extend` and `extend_rows` continue sequences whose past is in a cache. Between the linear
layers everything is float32, on GPUs in half precision the attention too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.gpt_worker.model.kv_cache import KeyValueCache, LayerPast
from services.gpt_worker.model.linear import InOutLinear, converted

_INITIAL_STD = 0.02

Extend = Callable[[Tensor, LayerPast, int, Tensor], Tensor]
"""Takes new positions (T, D) of a row, the row's past, its length and the mask (T, readable); gives (T, D)."""


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, output_std: float) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = InOutLinear(width, 3 * width)
        self.c_proj = InOutLinear(width, width, output_std)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, T, d) of x (B, T, D)."""
        query, key, value = self.c_attn(x).chunk(3, dim=-1)
        return self._split(query), self._split(key), self._split(value)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Mix values; `mask` is True where a query may look, None means causal. Gives (B, T, D)."""
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        y: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(2))
        return y

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int, output_std: float) -> None:
        super().__init__()
        self.c_fc = InOutLinear(width, 4 * width)
        self.c_proj = InOutLinear(4 * width, width, output_std)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return y


class Block(nn.Module):
    def __init__(self, width: int, heads: int, output_std: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, output_std)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, output_std)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.attn.project(self.ln_1(x))

    def mix(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attn.attend(query, key, value, mask)
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y

    def bound(self) -> Extend:
        """What appends positions to one row, with its modules and weights looked up once.

        Looking them up costs as much as the arithmetic of a small model. The fused attention of torch 2.13 splits
        one query's keys over the threads, so that two workers with different numbers of cores would continue one
        stream differently; the sums of these products do not.
        """
        norm_1, norm_2 = _bound_norm(self.ln_1), _bound_norm(self.ln_2)
        project, mix = self.attn.c_attn.forward, self.attn.c_proj.forward
        widen, narrow = self.mlp.c_fc.forward, self.mlp.c_proj.forward
        heads = self.attn.heads
        scale = (self.ln_1.normalized_shape[0] // heads) ** -0.5

        def extend(x: Tensor, past: LayerPast, start: int, mask: Tensor) -> Tensor:
            count = len(x)
            projected = project(norm_1(x)).view(count, 3, heads, -1).permute(1, 2, 0, 3)  # (3, H, T, d)
            past.store.narrow(2, start, count).copy_(projected[1:])
            scores = torch.baddbmm(mask, projected[0], past.keys, alpha=scale)
            mixed = torch.bmm(scores.softmax(dim=-1), past.values)  # (H, T, d)
            x = x + mix(mixed.transpose(0, 1).reshape(count, -1))
            return x + narrow(F.gelu(widen(norm_2(x)), approximate="tanh"))

        return extend


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        output_std = _INITIAL_STD / (2 * layers) ** 0.5
        self.h = nn.ModuleList(Block(width, heads, output_std) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.dtype = torch.float32
        """Of keys and values."""
        self._bound: list[Extend] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy binds weights of its own."""
        return {**self.__dict__, "_bound": None}

    def convert(self, mode: str) -> None:
        """Keep the weights of the linear layers in a numeric mode, for good.

        Raises:
            CheckpointError: The device has no such arithmetic.
        """
        for parent in list(self.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, InOutLinear):
                    setattr(parent, name, converted(layer, mode))
        self._bound = None
        if self.ln_f.weight.is_cuda and mode != "float32":
            self.dtype = getattr(torch, mode)

    def new_cache(self, rows: int, max_length: int) -> KeyValueCache:
        """Allocate a cache on the weights' device."""
        return KeyValueCache(
            rows=rows,
            layers=len(self.h),
            heads=self.heads,
            max_length=max_length,
            head_width=self.width // self.heads,
            device=self.ln_f.weight.device,
            dtype=self.dtype,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Whole sequences (B, T, D); `mask` (B, 1, T, T) replaces the causal one."""
        for block in self.h:
            assert isinstance(block, Block)
            x = block.mix(x, *block.project(x), mask)
        y: Tensor = self.ln_f(x)
        return y

    def extend(self, x: Tensor, cache: KeyValueCache, row: int) -> Tensor:
        """Append x (T, D) to one row and return its hidden states (T, D).

        Shapes follow from T and the row's own length alone, so that equal codes at equal positions give
        equal bits whatever else runs and however often they are replayed.
        """
        past, count = cache.lengths[row], len(x)
        layers, mask = cache.layers(row, past + count), cache.mask(past, count)
        self._bound = self._bound or [block.bound() for block in self.h if isinstance(block, Block)]
        for extend, layer in zip(self._bound, layers, strict=True):
            x = extend(x, layer, past, mask)
        cache.lengths[row] = past + count
        y: Tensor = self.ln_f(x)
        return y

    def extend_rows(self, x: Tensor, cache: KeyValueCache, rows: Tensor, past: Tensor, readable: int) -> Tensor:
        """Append one position to each of B rows at once, for accelerators.

        All shapes are fixed and no length is read on the host, so that it can be captured as a
        CUDA graph. The caller keeps `cache.lengths`.

        Args:
            x: (B, D).
            rows: (B,) int64, rows of the cache in any order.
            past: (B,) int64, positions already in each row.
            readable: positions to read, above every `past`.
        """
        mask = (torch.arange(readable, device=x.device) <= past[:, None])[:, None, None]  # (B, 1, 1, readable)
        for index, block in enumerate(self.h):
            assert isinstance(block, Block)
            query, key, value = block.project(x[:, None])
            cache.store[rows, index, :, :, past] = torch.stack([key, value], dim=1)[:, :, :, 0]
            keys, values = cache.store[:, index, :, :, :readable].index_select(0, rows).unbind(1)
            x = block.mix(x[:, None], query, keys, values, mask)[:, 0]
        y: Tensor = self.ln_f(x)
        return y


def _bound_norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    shape, weight, bias, eps = list(norm.normalized_shape), norm.weight, norm.bias, norm.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
