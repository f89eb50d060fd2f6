"""Encoder inputs and frame labels in memory, and batches of crops of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes.mini import features, paths

CROP_FRAMES = 200


@dataclass(frozen=True)
class Clip:
    """One clip's encoder input (T, 160) and targets (T,)."""

    x: Tensor
    targets: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def load_clips() -> tuple[list[Clip], list[Clip]]:
    """Training clips (with warped copies), and unwarped held-out ones."""
    train, held_out = [], []
    for path in sorted(paths.FEATURES.glob("*.pt")):
        for entry in torch.load(path, weights_only=True):
            x = features.encoder_input(entry["bank"].float()).half()
            num = min(len(x), len(entry["label"]))
            has_f0 = torch.full((num,), entry["has_f0"])
            names = ("label", "stress", "log_f0", "voiced")
            label, stress, log_f0, voiced = (entry[name][:num] for name in names)
            clip = Clip(x[:num], (label, stress, log_f0, voiced, has_f0))
            if not entry["held_out"]:
                train.append(clip)
            elif entry["warp"] == 1.0:
                held_out.append(clip)
    return train, held_out


class Batches:
    """Crops of clips of like length, in shuffled order without end."""

    def __init__(self, clips: list[Clip], batch: int) -> None:
        self.clips, self.batch = clips, batch
        self.pool: list[list[int]] = []

    def refill(self) -> None:
        order = [index for index, clip in enumerate(self.clips) if len(clip.x) >= 60]
        random.shuffle(order)
        span = self.batch * 16
        for start in range(0, len(order), span):
            near = sorted(order[start : start + span], key=lambda index: len(self.clips[index].x))
            self.pool += [near[at : at + self.batch] for at in range(0, len(near) - self.batch + 1, self.batch)]
        random.shuffle(self.pool)

    def next(self) -> tuple[Tensor, list[Tensor]]:
        if not self.pool:
            self.refill()
        clips = [self.clips[index] for index in self.pool.pop()]
        length = min(CROP_FRAMES, *(len(clip.x) for clip in clips)) // 20 * 20
        xs, targets = [], []
        for clip in clips:
            start = random.randrange(len(clip.x) - length + 1)
            xs.append(clip.x[start : start + length].float())
            targets.append([target[start : start + length] for target in clip.targets])
        stacked = [torch.stack(column) for column in zip(*targets, strict=True)]
        return augment(torch.stack(xs)), stacked


def augment(x: Tensor) -> Tensor:
    """Bands masked in both halves of the stacked frames, noise, and a spectral tilt per clip."""
    if random.random() < 0.7:
        for _ in range(2):
            low, width = random.randrange(70), random.randrange(1, 12)
            x[..., low : low + width] = 0
            x[..., 80 + low : min(160, 80 + low + width)] = 0
    x = x + torch.randn_like(x) * random.random() * 0.25
    tilt = torch.randn(x.shape[0], 1, 1) * 0.3 * torch.linspace(-1, 1, 80)
    return x + torch.cat([tilt, tilt], -1)
