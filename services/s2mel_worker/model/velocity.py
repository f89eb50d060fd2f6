"""The flow's velocity as it is served: what `dit.DiT` computes, without what a step need not repeat.

Everything that depends on a render alone is one matrix (`condition`), everything that depends on the time alone one
row (`modulation`). Linear layers without anything between them are one layer. Frames that are known already are seen,
but from the last block's queries on nothing is computed for them, except as far as the WaveNet reaches.

Letters: B items, G B or 2 B (guided: the conditioned halves, then the others), T frames, S frames of the tail,
M mel bins, C width, H heads, D head width, K taps of the WaveNet, L its layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from services.common.weights import fuse_weight_norm
from services.s2mel_worker.model.dit import ROPE_BASE, DiT
from services.s2mel_worker.model.frames import Frames

Weights = dict[str, Tensor]

COMPILED_ROWS = 32
"""A CPU's library compiles each product of bfloat16 for its number of rows, in 0.7 MB and about a millisecond: rows
are filled up to a multiple of this, so that a few products serve windows of all lengths."""

MAX_FRAMES = 8192
"""Positions that the table of rotations holds to begin with; longer renders make it longer."""


@dataclass(frozen=True)
class _BlockWeights:
    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor
    skip: Tensor | None
    skip_bias: Tensor | None


@dataclass(frozen=True)
class _WaveNetWeights:
    taps: Tensor
    """(2 C, K C): the taps side by side."""
    residual: Tensor | None
    residual_bias: Tensor | None


class VelocityNetwork:
    """Velocity of the flow for a batch of renders, each at its own time.

    Matrix products are computed in `dtype`; sums, norms and the flow itself in float32.

    Args:
        network: The network with the weights; it is not needed any more afterwards.
        dtype: float32, bfloat16 or float16.
    """

    @torch.no_grad()
    def __init__(self, network: DiT, dtype: torch.dtype = torch.float32) -> None:
        weights = fuse_weight_norm(network.state_dict())
        self.dtype = dtype
        self.device = weights["conv1.weight"].device
        self.num_bins, self.width, _ = weights["conv2.weight"].shape
        self.num_taps = weights["wavenet.in_layers.0.conv.conv.weight"].shape[2]
        self._num_smooth = len(network.wavenet.in_layers)
        self._depth = len(network.transformer.layers)
        self._heads = self.width // network.transformer.head_width
        self._blocks = [_block(weights, n, self._depth, dtype) for n in range(self._depth)]
        self._take_time(network, weights)
        self._take_input(weights)
        self._take_output(weights)
        self._take_wavenet(weights)
        self._rotations = self._rotation_table(MAX_FRAMES)
        # The CPU's fused kernel is fastest on float32; a GPU's wants short numbers.
        self._attention_dtype = dtype if self.device.type == "cuda" else torch.float32
        self._is_by_head = self.device.type == "cpu" and dtype == torch.bfloat16
        self.frame_multiple = COMPILED_ROWS if self._is_by_head else 1
        """What the sizes of frames and tails should be a multiple of."""

    @property
    def num_modulations(self) -> int:
        return sum(self._parts)

    @property
    def reach(self) -> int:
        """Frames on each side that the WaveNet mixes into one."""
        return len(self._wavenet) * (self.num_taps // 2)

    @torch.no_grad()
    def condition(self, prompt_mel: Tensor, mu: Tensor, style: Tensor) -> Tensor:
        """What a render adds to every step's input.

        Args:
            prompt_mel: (P, M) known mel of the first frames.
            mu: (T, content width), T >= P.
            style: (style width).

        Returns:
            (T, C) float32.
        """
        rows = F.linear(mu.float(), self._from_mu, self.blank + F.linear(style.float(), self._from_style))
        rows[: len(prompt_mel)] += F.linear(prompt_mel.float(), self._from_prompt)
        return rows

    @torch.no_grad()
    def modulation(self, times: Tensor) -> Tensor:
        """What the networks are told of each time: (N,) to (N, numbers) float32."""
        early, late = self._early(times), self._late(times)
        return torch.cat(
            (
                F.linear(early, self._norm_weight, self._norm_bias),
                F.linear(F.silu(early), self._last_weight, self._last_bias),
                F.linear(late, self._gate_weight, self._gate_bias),
            ),
            dim=1,
        )

    @torch.no_grad()
    def __call__(self, x: Tensor, condition: Tensor, modulation: Tensor, frames: Frames, *, is_guided: bool) -> Tensor:
        """Estimate the velocity of the tails.

        Args:
            x: (B, T, M) points of the flow, 0 in known frames.
            condition: (B, T, C) of `condition`.
            modulation: (B, numbers) of `modulation`.
            frames: which frames are whose.
            is_guided: Whether the unconditioned velocity is wanted too.

        Returns:
            (1, B, S, M) float32; guided (2, B, S, M), the conditioned one first.
        """
        hidden = self._linear(x, self._from_x)
        both = hidden + condition
        if is_guided:
            both = torch.cat((both, hidden + self.blank))
            modulation = modulation.repeat(2, 1)
        rows = [part[:, None] for part in torch.split(modulation, self._parts, dim=1)]
        norms, (scale, shift), gates = rows[: self._num_norms], rows[self._num_norms :][:2], rows[self._num_norms + 2 :]
        tail = self._tail(self._transform(both, norms, frames), x, norms[-2:], frames)
        smooth = self._smooth(tail[..., : self.width], gates, frames) + tail[..., self.width :]
        normed = torch.addcmul(shift, F.layer_norm(smooth, (self.width,), eps=1e-6), scale)
        return torch.unflatten(self._linear(normed, self._out, self._out_bias), 0, (-1, len(x)))

    def _transform(self, x: Tensor, norms: list[Tensor], frames: Frames) -> Tensor:
        """All blocks: (G, T, C) to the tails (G, S, C)."""
        num_frames, last = x.shape[1], len(self._blocks) - 1
        if num_frames > len(self._rotations):
            self._rotations = self._rotation_table(2 * num_frames)
        rotations, skips = self._rotations[:num_frames], list[Tensor]()
        for n, block in enumerate(self._blocks):
            if block.skip is not None:
                x = self._linear(torch.cat((x, skips.pop()), dim=-1), block.skip, block.skip_bias)
            x = self._attend(x, block, norms[4 * n : 4 * n + 2], rotations, frames, is_last=n == last)
            x = self._feed(x, block, norms[4 * n + 2 : 4 * n + 4])
            if n < len(self._blocks) // 2:
                skips.append(x)
        return x

    def _attend(
        self, x: Tensor, block: _BlockWeights, norm: list[Tensor], rotations: Tensor, frames: Frames, *, is_last: bool
    ) -> Tensor:
        y, width = self._norm(x, norm), self.width
        if is_last:
            keys_values = F.linear(y, block.qkv[width:])
            queries = F.linear(frames.tails(y), block.qkv[:width])
            query = self._rotate(queries, rotations[frames.positions][:, :, None])
            key, value = self._rotate(keys_values[..., :width], rotations[:, None]), keys_values[..., width:]
            x = frames.tails(x)
        else:
            qkv = F.linear(y, block.qkv)
            turned = self._rotate(qkv[..., : 2 * width], rotations[:, None])
            query, key = turned.chunk(2, dim=2)
            value = qkv[..., 2 * width :]
        heads = (query, key, torch.unflatten(value, -1, (self._heads, -1)))
        if self._is_by_head:
            return x + F.linear(_mixed_by_head(*heads, frames.keys), block.out)
        q, k, v = (part.to(self._attention_dtype).transpose(1, 2) for part in heads)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=frames.keys)
        return x + F.linear(mixed.transpose(1, 2).flatten(2).to(self.dtype), block.out)

    def _rotate(self, x: Tensor, rotations: Tensor) -> Tensor:
        """Turn each pair of neighbours of (G, T, n D) by its position's angle: (G, T, n, D) float32."""
        pairs = torch.unflatten(x.float(), -1, (-1, self.width // self._heads // 2, 2))
        return torch.view_as_real(torch.view_as_complex(pairs) * rotations).flatten(-2)

    def _feed(self, x: Tensor, block: _BlockWeights, norm: list[Tensor]) -> Tensor:
        gate, up = F.linear(self._norm(x, norm), block.gate_up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate).mul_(up), block.down)

    def _norm(self, x: Tensor, norm: list[Tensor]) -> Tensor:
        scale, offset = norm
        return torch.addcmul(offset, F.rms_norm(x, (self.width,), eps=1e-5), scale).to(self.dtype)

    def _tail(self, x: Tensor, points: Tensor, norm: list[Tensor], frames: Frames) -> Tensor:
        """The WaveNet's input and what goes around it, side by side: (G, S, 2 C)."""
        direct = self._linear(frames.tails(points), self._tail_points, self._tail_bias)
        if len(x) > len(points):
            direct = direct.repeat(2, 1, 1)
        return direct + F.linear(self._norm(x, norm), self._tail_hidden)

    def _smooth(self, y: Tensor, gates: list[Tensor], frames: Frames) -> Tensor:
        """The WaveNet: (G, S, C) to (G, S, C). Its layers' outputs are summed by one product at the end."""
        g, s, width = y.shape
        gated = torch.empty(g, s, len(self._wavenet) * width, dtype=self.dtype, device=y.device)
        for n, (layer, gate) in enumerate(zip(self._wavenet, gates, strict=True)):
            seen = y.to(self.dtype).reshape(g * s, width).index_select(0, frames.taps).view(g, s, -1)
            tanh, sigmoid = (F.linear(seen, layer.taps) + gate).chunk(2, dim=-1)
            mine = gated[..., n * width : (n + 1) * width]
            mine.copy_(torch.tanh(tanh).mul_(torch.sigmoid(sigmoid)))
            if layer.residual is not None:
                y = y + F.linear(mine, layer.residual, layer.residual_bias)
        return self._linear(gated, self._skips, self._skips_bias)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x.to(self.dtype), weight, bias).float()

    def _rotation_table(self, num_frames: int) -> Tensor:
        """(frames, D / 2) complex."""
        width = self.width // self._heads
        pairs = torch.arange(0, width, 2, device=self.device, dtype=torch.float32)
        angles = torch.outer(
            torch.arange(num_frames, device=self.device, dtype=torch.float32), 1 / ROPE_BASE ** (pairs / width)
        )
        return torch.polar(torch.ones_like(angles), angles)

    def _take_time(self, network: DiT, weights: Weights) -> None:
        self._early, self._late = network.t_embedder, network.t_embedder2
        norms = [f"transformer.layers.{n}.{kind}_norm" for n in range(self._depth) for kind in ("attention", "ffn")]
        norms.append("transformer.norm")
        # The norm's own weight goes into the scale, which is the first half.
        own = [weights[f"{name}.norm.weight"] for name in norms]
        scales = torch.cat([torch.cat((weight, torch.ones_like(weight))) for weight in own])
        self._norm_weight = torch.cat([weights[f"{name}.project_layer.weight"] for name in norms]) * scales[:, None]
        self._norm_bias = torch.cat([weights[f"{name}.project_layer.bias"] for name in norms]) * scales
        # Published: the shift first, and 1 + scale.
        self._last_weight = weights["final_layer.adaLN_modulation.1.weight"].roll(self.width, 0)
        self._last_bias = weights["final_layer.adaLN_modulation.1.bias"].roll(self.width, 0)
        self._last_bias[: self.width] += 1
        biases = [weights[f"wavenet.in_layers.{n}.conv.conv.bias"] for n in range(self._num_smooth)]
        self._gate_weight = weights["wavenet.cond_layer.conv.conv.weight"][..., 0]
        self._gate_bias = weights["wavenet.cond_layer.conv.conv.bias"] + torch.cat(biases)
        self._num_norms = 2 * len(norms)
        self._parts = [self.width] * (self._num_norms + 2) + [2 * self.width] * self._num_smooth

    def _take_input(self, weights: Weights) -> None:
        bins, merge = self.num_bins, weights["cond_x_merge_linear.weight"]
        points, prompt, mu, style = merge.tensor_split((bins, 2 * bins, 2 * bins + self.width), dim=1)
        self._from_x = points.to(self.dtype).contiguous()
        self._from_prompt, self._from_style = prompt.contiguous(), style.contiguous()
        self._from_mu = _product(mu, weights["cond_projection.weight"])
        self.blank = weights["cond_x_merge_linear.bias"] + _product(mu, weights["cond_projection.bias"])
        """(C,) what an unconditioned render has as condition in every frame."""

    def _take_output(self, weights: Weights) -> None:
        skip, skip_bias = weights["skip_linear.weight"], weights["skip_linear.bias"]
        around = ("conv1", "res_projection")
        both = torch.cat([_product(weights[f"{name}.weight"], skip) for name in around])
        bias = [_product(weights[f"{name}.weight"], skip_bias) + weights[f"{name}.bias"] for name in around]
        self._tail_hidden = both[:, : self.width].to(self.dtype).contiguous()
        self._tail_points = both[:, self.width :].to(self.dtype).contiguous()
        self._tail_bias = torch.cat(bias).to(self.dtype)
        out = weights["conv2.weight"][..., 0]
        self._out = _product(out, weights["final_layer.linear.weight"]).to(self.dtype)
        out_bias = _product(out, weights["final_layer.linear.bias"]) + weights["conv2.bias"]
        self._out_bias = out_bias.to(self.dtype)

    def _take_wavenet(self, weights: Weights) -> None:
        self._wavenet = [_wavenet_layer(weights, n, self.dtype) for n in range(self._num_smooth)]
        outs = [weights[f"wavenet.res_skip_layers.{n}.conv.conv.weight"] for n in range(self._num_smooth)]
        biases = [weights[f"wavenet.res_skip_layers.{n}.conv.conv.bias"] for n in range(self._num_smooth)]
        self._skips = torch.cat([out[-self.width :, :, 0] for out in outs], dim=1).to(self.dtype)
        self._skips_bias = torch.stack([bias[-self.width :] for bias in biases]).sum(0).to(self.dtype)


def _mixed_by_head(query: Tensor, key: Tensor, value: Tensor, keys: Tensor | None) -> Tensor:
    """Attention in bfloat16 on a CPU: one head's scores fit the cache, and the fused kernel computes in float32.

    Args:
        query: (G, S, H, D).
        key: (G, T, H, D).
        value: (G, T, H, D) bfloat16.
        keys: (G, 1, 1, T) True for frames that may be seen; None where all may.

    Returns:
        (G, S, C) bfloat16.
    """
    num_heads = query.shape[2]
    parts = ((query * query.shape[-1] ** -0.5).bfloat16(), key.bfloat16(), value)
    heads = zip(*(part.transpose(1, 2).flatten(0, 1) for part in parts), strict=True)
    seen = torch.ones(len(key), key.shape[1], dtype=torch.bool) if keys is None else keys[:, 0, 0]
    hidden = torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill_(~seen, -torch.inf)
    mixed = [torch.addmm(hidden[n // num_heads], q, k.T).softmax(dim=-1) @ v for n, (q, k, v) in enumerate(heads)]
    return torch.unflatten(torch.stack(mixed), 0, (len(query), -1)).transpose(1, 2).flatten(2)


def _block(weights: Weights, n: int, depth: int, dtype: torch.dtype) -> _BlockWeights:
    def own(name: str) -> Tensor:
        return weights[f"transformer.layers.{n}.{name}"].to(dtype)

    is_late = n >= depth - depth // 2
    return _BlockWeights(
        qkv=own("attention.wqkv.weight"),
        out=own("attention.wo.weight"),
        gate_up=torch.cat((own("feed_forward.w1.weight"), own("feed_forward.w3.weight"))),
        down=own("feed_forward.w2.weight"),
        skip=own("skip_in_linear.weight") if is_late else None,
        skip_bias=own("skip_in_linear.bias") if is_late else None,
    )


def _wavenet_layer(weights: Weights, n: int, dtype: torch.dtype) -> _WaveNetWeights:
    taps = weights[f"wavenet.in_layers.{n}.conv.conv.weight"]
    both = weights[f"wavenet.res_skip_layers.{n}.conv.conv.weight"][..., 0]
    bias = weights[f"wavenet.res_skip_layers.{n}.conv.conv.bias"]
    width = taps.shape[1]
    is_last = len(both) == width
    return _WaveNetWeights(
        taps=taps.transpose(1, 2).flatten(1).to(dtype).contiguous(),
        residual=None if is_last else both[:width].to(dtype).contiguous(),
        residual_bias=None if is_last else bias[:width].to(dtype),
    )


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Two linear layers as one, rounded once."""
    return (left.double() @ right.double()).to(left.dtype)
