"""The GPT-2 trunk (§6.4): no position table of its own, final LayerNorm included.

Letters: B batch, T positions, H heads, d head width, D width. `forward` serves training and whole
sequences; `extend` and `extend_rows` continue sequences whose past is in a cache.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.gpt_worker.model.kv_cache import KeyValueCache, bucketed

_INITIAL_STD = 0.02


class InOutLinear(nn.Module):
    """A linear layer that stores its weight as (in, out), as GPT-2 checkpoints do."""

    def __init__(self, inputs: int, outputs: int, std: float = _INITIAL_STD) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).normal_(std=std))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


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
        if mask is not None and query.shape[2] == 1 and not query.is_cuda:
            mixed = _attend_one(query, key, value, mask)
        else:
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


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        output_std = _INITIAL_STD / (2 * layers) ** 0.5
        self.h = nn.ModuleList(Block(width, heads, output_std) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def new_cache(self, rows: int, max_length: int) -> KeyValueCache:
        """Allocate a cache of the weights' device and type."""
        weight = self.ln_f.weight
        return KeyValueCache(
            rows=rows,
            layers=len(self.h),
            heads=self.heads,
            max_length=max_length,
            head_width=self.width // self.heads,
            device=weight.device,
            dtype=weight.dtype,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Whole sequences (B, T, D); `mask` (B, 1, T, T) replaces the causal one."""
        for block in self.h:
            assert isinstance(block, Block)
            x = block.mix(x, *block.project(x), mask)
        y: Tensor = self.ln_f(x)
        return y

    def extend(self, x: Tensor, cache: KeyValueCache, row: int) -> Tensor:
        """Append x (1, t, D) to one row and return its hidden states (1, t, D).

        One position is attended over a length bucket with a mask, so that equal codes at equal
        positions give equal bits whatever else runs and however often they are replayed.
        """
        past, count = cache.lengths[row], x.shape[1]
        reached = past + count
        readable = bucketed(reached) if count == 1 else reached
        mask = _past_mask(past, count, readable, x.device)
        for index, block in enumerate(self.h):
            assert isinstance(block, Block)
            query, key, value = block.project(x)
            cache.write(row, index, past, key[0], value[0])
            keys, values = cache.read(row, index, readable)
            x = block.mix(x, query, keys[None], values[None], mask)
        cache.lengths[row] = reached
        y: Tensor = self.ln_f(x)
        return y

    def extend_rows(self, x: Tensor, cache: KeyValueCache, past: Tensor, readable: int) -> Tensor:
        """Append one position to each of the first B rows at once, for accelerators.

        All shapes are fixed and no length is read on the host, so that it can be captured as a
        CUDA graph. The caller keeps `cache.lengths`; a row that must not move is given its present
        length, and what is written there is overwritten later.

        Args:
            x: (B, 1, D).
            past: (B,) int64, positions already in each row.
            readable: positions to read, a multiple of the bucket above every `past`.
        """
        batch = torch.arange(x.shape[0], device=x.device)
        mask = torch.arange(readable, device=x.device) <= past[:, None]
        for index, block in enumerate(self.h):
            assert isinstance(block, Block)
            query, key, value = block.project(x)
            cache.keys[batch, index, :, past] = key[:, :, 0]
            cache.values[batch, index, :, past] = value[:, :, 0]
            keys = cache.keys[: len(batch), index, :, :readable]
            values = cache.values[: len(batch), index, :, :readable]
            x = block.mix(x, query, keys, values, mask[:, None, None])
        y: Tensor = self.ln_f(x)
        return y


def _attend_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention of one position, (B, H, 1, d), in steps whose sums do not depend on the thread count.

    The fused kernel of torch 2.13 splits one query's keys over the threads, so that two workers
    with different numbers of cores would continue one stream differently.
    """
    scores = (query @ key.mT) * query.shape[-1] ** -0.5
    mixed: Tensor = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ value
    return mixed


def _past_mask(past: int, count: int, readable: int, device: torch.device) -> Tensor | None:
    """True where new position i may look: positions 0 .. past + i. Shape (1, 1, count, readable)."""
    if past == 0 and readable == count:
        return None
    last = torch.arange(past, past + count, device=device)[:, None]
    return (torch.arange(readable, device=device) <= last)[None, None]
