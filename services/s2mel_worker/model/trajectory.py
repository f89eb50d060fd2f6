"""One render on its way from noise to mel: where it is, and what it needs for the next step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.s2mel_worker.model.frames import Span
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.velocity import VelocityNetwork


@dataclass(frozen=True)
class Clock:
    """What depends on a solver alone."""

    solver: Solver
    times: list[float]
    modulation: Tensor
    """(steps, numbers) what the networks are told at each step."""

    @classmethod
    def of(cls, network: VelocityNetwork, solver: Solver) -> Clock:
        times = solver.times()
        return cls(solver, times.tolist(), network.modulation(times[:-1].to(network.device)))

    @property
    def num_bytes(self) -> int:
        return self.modulation.nbytes


class Trajectory:
    """The state of one render between two steps.

    Args:
        clock: The times of its steps.
        condition: (T, C) what it adds to every step's input.
        noise: (T - known, M) start of the unknown frames.
        span: Its frames.
        cfg_rate: How far to go beyond the conditioned velocity, away from the unconditioned one; 0 asks for no
            unconditioned one.
    """

    def __init__(self, clock: Clock, condition: Tensor, noise: Tensor, span: Span, cfg_rate: float) -> None:
        self.clock = clock
        self.condition = condition
        self.span = span
        self.cfg_rate = cfg_rate
        self.step = 0
        self.x = torch.cat((noise.new_zeros(span.num_known, noise.shape[1]), noise))
        """(T, M) the point of the flow; known frames stay 0."""
        self._before: Tensor | None = None
        self._guidance: Tensor | None = None
        """(T - known, M) what guidance added to the velocity when it was last looked at."""

    @property
    def modulation(self) -> Tensor:
        """(numbers,) of the next step."""
        return self.clock.modulation[self.step]

    @property
    def is_guidance_due(self) -> bool:
        """Whether the next step needs the unconditioned velocity too."""
        return self.cfg_rate != 0 and self.clock.solver.is_guidance_due(self.clock.times, self.step)

    @property
    def is_done(self) -> bool:
        return self.step == self.clock.solver.num_steps

    @property
    def mel(self) -> Tensor:
        """(T - known, M) of the unknown frames."""
        return self.x[self.span.num_known :]

    def advance(self, velocities: Tensor) -> None:
        """Go one step along the tail's velocity (1, S, M), or (2, S, M) with the unconditioned one behind it."""
        now, before = self.clock.solver.weights(self.clock.times, self.step)
        unknown = self._guided(velocities[:, self.span.num_known - self.span.tail_start : self.span.tail_frames])
        self.mel.add_(unknown, alpha=now)
        if before:
            assert self._before is not None
            self.mel.add_(self._before, alpha=before)
        if self.clock.solver.order > 1:
            # A copy: the next step may be computed into the same memory.
            self._before = unknown.clone()
        self.step += 1

    def _guided(self, velocities: Tensor) -> Tensor:
        if len(velocities) > 1:
            self._guidance = self.cfg_rate * (velocities[0] - velocities[1])
        return velocities[0] if self._guidance is None else velocities[0] + self._guidance
