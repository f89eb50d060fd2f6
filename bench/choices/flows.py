"""How far solvers of the flow, and guidance that is kept between steps, are from the ends that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.quality.material import Speech
from bench.quality.stages import StageRun
from bench.stages.sessions import WHOLE
from services.common.arrays import Array
from services.common.stage.engine import Engine
from services.s2mel_worker.model.solver import Solver

EULER, TWO_STEP = 1, 2
_NAMES = {EULER: "Euler", TWO_STEP: "two-step"}

SOLVERS: Sequence[tuple[int, float]] = tuple((order, sway) for order in (EULER, TWO_STEP) for sway in (0.0, -0.5, -1.0))
"""Order and sway."""
STEPS = (2, 3, 4, 6, 8, 12, 25)

GUIDED: Sequence[Solver] = (
    Solver(25),
    *(Solver(steps, sway=-0.5, order=TWO_STEP) for steps in (16, 12, 8)),
)
"""Solvers whose guidance is kept between steps."""
INTERVALS = (2, 3, 4)


@dataclass(frozen=True)
class Distance:
    """How far one way to carry the flow ends from another."""

    row: str
    column: str
    mel_l1: float
    """Mean absolute difference of log-mel values."""


def shortened(speech: Speech, codes: int) -> Speech:
    """The beginning of a speech."""
    return replace(speech, codes=speech.codes[:codes], latents=speech.latents[:codes])


def solver_distances(
    engine: Engine, speech: Speech, reference_steps: int, cfg_rate: float, steps: Sequence[int] = STEPS
) -> Iterator[Distance]:
    """Distances of every solver to many equal Euler steps of the same noise."""
    end = _mel(engine, speech, Solver(reference_steps), cfg_rate)
    for order, sway in SOLVERS:
        for count in steps:
            mel = _mel(engine, speech, Solver(count, sway, order), cfg_rate)
            yield Distance(_row_of(order, sway), str(count), _l1(mel, end))


def guidance_distances(
    engine: Engine, speech: Speech, cfg_rate: float, solvers: Sequence[Solver] = GUIDED
) -> Iterator[Distance]:
    """Distances of kept guidance to guidance at every step of the same solver."""
    for solver in solvers:
        every = _mel(engine, speech, solver, cfg_rate)
        for interval in INTERVALS:
            kept = replace(solver, guidance_interval=interval)
            column = f"{solver.num_steps} {_NAMES[solver.order]}"
            yield Distance(str(interval), column, _l1(_mel(engine, speech, kept, cfg_rate), every))


def guided_steps(solver: Solver) -> int:
    """Steps that compute the guidance itself."""
    times = solver.times().tolist()
    return sum(solver.is_guidance_due(times[:-1], step) for step in range(solver.num_steps))


def _row_of(order: int, sway: float) -> str:
    return f"{_NAMES[order]}, " + (f"sway {sway:g}" if sway else "equal steps")


def _mel(engine: Engine, speech: Speech, solver: Solver, cfg_rate: float) -> Array:
    """A whole render of the speech; its noise follows from its seed."""
    params: Mapping[str, float] = {
        "steps": solver.num_steps,
        "sway": solver.sway,
        "solver_order": solver.order,
        "guidance_interval": solver.guidance_interval,
        "cfg_rate": cfg_rate,
    }
    policy = replace(WHOLE, prompt_seconds=engine.spec.default_policy.prompt_seconds)
    with StageRun(engine, speech.seed, policy, params, speech.voice.features) as run:
        pieces = [mel.tensors["mel"] for chunk in speech.chunks(len(speech.codes)) for mel in run.push(chunk)]
    return np.concatenate(pieces)


def _l1(one: Array, other: Array) -> float:
    return float(np.abs(one - other).mean())
