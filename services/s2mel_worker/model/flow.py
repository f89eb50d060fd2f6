"""Conditional flow matching: Euler steps with classifier-free guidance, and their start noise (§7.3).

The solver here is the published one, for training and as a yardstick; workers go step by step (`trajectory`) with
the same network made fast (`velocity`). The noise is an argument, so that the flow is a function of its inputs.
Letters: B batch, T frames, M bins.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.common.checkpoint import S2MelConfig
from services.s2mel_worker.model.dit import DiT
from services.s2mel_worker.model.lengths import frame_mask

NOISE = 2
"""Purpose of the random numbers that start the flow."""


def frame_noise(seed: int, segment: int, first_frame: int, num_frames: int, num_bins: int = 80) -> Tensor:
    """Standard normal start noise (num_frames, num_bins), the same for a frame in whatever window.

    Philox with key (seed, segment, purpose) and the frame's absolute index as counter. The normals are
    made here (Box-Muller) because numpy promises its bits for ever but not its normal distribution.

    Args:
        seed: uint64 of the request.
        segment: number of the segment, below 2**32.
        first_frame: index in the segment.
        num_frames: how many.
        num_bins: values per frame, even.
    """
    key = np.array([seed, segment << 32 | NOISE], dtype=np.uint64)
    rows = [_uniforms(key, frame, num_bins) for frame in range(first_frame, first_frame + num_frames)]
    uniform = np.stack(rows) if rows else np.empty((0, num_bins))
    radius = np.sqrt(-2 * np.log(uniform[:, : num_bins // 2]))
    angle = 2 * np.pi * uniform[:, num_bins // 2 :]
    normal = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return torch.from_numpy(normal.astype(np.float32))


def _uniforms(key: NDArray[np.uint64], frame: int, count: int) -> NDArray[np.float64]:
    """Numbers in (0, 1]: the logarithm of 0 would end the sound."""
    # The index sits in the second counter word: the first counts the blocks of one index.
    counter = np.array([0, frame, 0, 0], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(count)
    return ((bits >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53


class Flow(nn.Module):
    """The estimator under its published key prefix, and the solver around it."""

    def __init__(self, estimator: DiT) -> None:
        super().__init__()
        self.estimator = estimator

    @classmethod
    def from_config(cls, config: S2MelConfig) -> Self:
        return cls(DiT.from_config(config))

    def forward(
        self,
        noise: Tensor,
        prompt: Tensor,
        prompt_lengths: Tensor,
        mu: Tensor,
        style: Tensor,
        lengths: Tensor | None = None,
        *,
        num_steps: int = 25,
        cfg_rate: float = 0.7,
    ) -> Tensor:
        """Carry noise to mel.

        Args:
            noise: (B, M, T); what stands in prompt frames is not used.
            prompt: (B, M, T) known mel in each item's first frames.
            prompt_lengths: (B,) known frames of each item; they stay 0 in the flow and come out as 0.
            mu: (B, T, C) condition.
            style: (B, S).
            lengths: (B,) frames of each item, prompt included; all T when absent.
            num_steps: Euler steps of equal size.
            cfg_rate: how far to go beyond the conditioned velocity, away from the unconditioned one.

        Returns:
            (B, M, T).
        """
        is_known = frame_mask(prompt_lengths, noise.shape[2])[:, None]
        prompt = prompt.masked_fill(~is_known, 0)
        x = noise.masked_fill(is_known, 0)
        times = torch.linspace(0, 1, num_steps + 1, device=x.device)
        for time, step in zip(times[:-1], times.diff(), strict=True):
            velocity = self._guided(x, prompt, lengths, time.expand(len(x)), style, mu, cfg_rate)
            x = (x + step * velocity).masked_fill(is_known, 0)
        return x

    def _guided(
        self,
        x: Tensor,
        prompt: Tensor,
        lengths: Tensor | None,
        time: Tensor,
        style: Tensor,
        mu: Tensor,
        cfg_rate: float,
    ) -> Tensor:
        if cfg_rate == 0:
            conditioned: Tensor = self.estimator(x, prompt, lengths, time, style, mu)
            return conditioned
        velocity = self.estimator(
            torch.cat((x, x)),
            torch.cat((prompt, torch.zeros_like(prompt))),
            None if lengths is None else lengths.repeat(2),
            time.repeat(2),
            torch.cat((style, torch.zeros_like(style))),
            torch.cat((mu, torch.zeros_like(mu))),
        )
        with_condition, without = velocity.chunk(2)
        guided: Tensor = (1 + cfg_rate) * with_condition - cfg_rate * without
        return guided
