"""The flow's clock and how one step follows from velocities (§7.3): data and arithmetic, no networks.

Published are steps of equal size, each along the velocity at its beginning (Euler): `sway` 0, `order` 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SETTLED = 0.3
"""Time of the flow from which the direction of guidance hardly changes from step to step (docs/measurements.md)."""


@dataclass(frozen=True, slots=True)
class Solver:
    """How a flow is carried from noise to mel; every step costs one evaluation of the network."""

    num_steps: int = 25
    sway: float = 0.0
    """Below 0 more of the steps are early, where the flow turns most; above, late (F5-TTS, arXiv 2410.06885)."""
    order: int = 1
    """1: Euler. 2: each step also leans on the velocity before (Adams-Bashforth)."""
    guidance_interval: int = 1
    """Steps from one look at the unconditioned velocity to the next, once the flow has settled; in between the
    guidance stays as it was. 1: at every step, as published."""

    def times(self) -> Tensor:
        """Times of the steps and the end, (num_steps + 1,) float32 from 0 to 1."""
        times = torch.linspace(0, 1, self.num_steps + 1)
        if not self.sway:
            return times
        return times + self.sway * (torch.cos(math.pi / 2 * times) - 1 + times)

    def is_guidance_due(self, times: list[float], step: int) -> bool:
        """Whether a step needs the unconditioned velocity itself: all early ones do, where guidance still turns."""
        settled = next((n for n, time in enumerate(times) if time >= SETTLED), len(times))
        return step < settled or (step - settled) % self.guidance_interval == 0

    def weights(self, times: list[float], step: int) -> tuple[float, float]:
        """How much of the velocity at the step, and of the one before, is gone."""
        size = times[step + 1] - times[step]
        if self.order == 1 or step == 0:
            return size, 0.0
        lean = size * size / (2 * (times[step] - times[step - 1]))
        return size + lean, -lean
