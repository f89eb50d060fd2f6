"""Clocks and steps of the flow, on flows whose solution is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.s2mel_worker.model.solver import SETTLED, Solver


@given(st.integers(1, 100), st.floats(-1, 1), st.sampled_from([1, 2]))
def test_time_goes_from_0_to_1_and_never_back(num_steps: int, sway: float, order: int) -> None:
    solver = Solver(num_steps, sway, order)
    times = solver.times()
    assert len(times) == num_steps + 1
    assert times[0] == 0
    assert float(times[-1]) == pytest.approx(1, abs=1e-6)
    assert (times.diff() > 0).all()
    weights = [solver.weights(times.tolist(), step) for step in range(num_steps)]
    for step, size in enumerate(times.diff().tolist()):
        assert sum(weights[step]) == pytest.approx(size), "a constant velocity is followed exactly"


def test_without_sway_steps_are_those_that_are_published() -> None:
    assert torch.equal(Solver(25).times(), torch.linspace(0, 1, 26))


def test_sway_moves_steps_to_one_end() -> None:
    early, late = Solver(8, -1).times().diff(), Solver(8, 1).times().diff()
    assert early[0] < early[-1]
    assert late[0] > late[-1]


@given(st.integers(1, 60), st.floats(-1, 1), st.integers(1, 60))
def test_guidance_is_computed_at_every_early_step_and_then_at_intervals(
    num_steps: int, sway: float, interval: int
) -> None:
    solver = Solver(num_steps, sway, guidance_interval=interval)
    times = solver.times().tolist()
    due = [step for step in range(num_steps) if solver.is_guidance_due(times, step)]
    early = [step for step in range(num_steps) if times[step] < SETTLED]
    late = [step for step in due if step not in early]
    assert due[0] == 0
    assert due[: len(early)] == early
    assert all(after - before == interval for before, after in itertools.pairwise(late))
    assert late[:1] == [len(early)][: num_steps - len(early)]


def test_by_default_guidance_is_computed_at_every_step() -> None:
    times = Solver(25).times().tolist()
    assert all(Solver(25).is_guidance_due(times, step) for step in range(25))


def solved(solver: Solver) -> float:
    """dx/dt = 3 t² + x from x(0) = 1, at t = 1."""
    times, x, before = solver.times().tolist(), 1.0, 0.0
    for step in range(solver.num_steps):
        now, then = solver.weights(times, step)
        velocity = 3 * times[step] ** 2 + x
        x, before = x + now * velocity + then * before, velocity
    return x


@pytest.mark.parametrize("sway", [0.0, -1.0, 0.5])
def test_errors_shrink_with_the_steps_as_fast_as_the_order_says(sway: float) -> None:
    exact = 7 * math.e - 15
    for order, least in ((1, 1.8), (2, 3.4)):
        errors = [abs(solved(Solver(steps, sway, order)) - exact) for steps in (40, 80)]
        assert errors[0] / errors[1] > least
