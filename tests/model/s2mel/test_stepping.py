"""Renders in the middle of their steps: alone, together, and with others coming and going."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
import torch
from torch import Tensor

from services.common.cuda_graphs import Capture, Compute, GraphCapture
from services.s2mel_worker.model import stepping
from services.s2mel_worker.model.frames import Frames
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.stepping import Batched, OneByOne, Stepper
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.s2mel_worker.model.velocity import VelocityNetwork

AS_IT_IS: Capture = GraphCapture(torch.device("cpu"))


class Capturing:
    """Notes what it is given, and repeats it as it is: as what could not be captured, unless told otherwise."""

    def __init__(self, *, is_capturing: bool = False) -> None:
        self._is_capturing = is_capturing
        self.captured: list[Compute] = []
        self.times_forgotten = 0

    def __call__(self, compute: Compute) -> Compute:
        self.captured.append(compute)
        return partial(compute) if self._is_capturing else compute

    def forget(self) -> None:
        self.times_forgotten += 1


class Pools:
    """Captures as torch does: into a pool that it knows and that no graph holds any more it refuses to."""

    def __init__(self) -> None:
        self._graphs: dict[int, weakref.WeakSet[object]] = {}

    def __call__(self, compute: Compute, device: torch.device, pool: int) -> Compute:
        if pool in self._graphs and not self._graphs[pool]:
            raise RuntimeError("use_count > 0 INTERNAL ASSERT FAILED")
        # As a graph, it does not keep alive what it was made from.
        step = weakref.WeakMethod(compute)

        def replay() -> torch.Tensor:
            held = step()
            assert held is not None
            return held()

        self._graphs.setdefault(pool, weakref.WeakSet()).add(replay)
        return replay


def start(
    stage: S2MelStageModel, num_frames: int, num_known: int, solver: Solver | None = None, cfg_rate: float = 0.7
) -> Trajectory:
    generator = torch.Generator().manual_seed(100 * num_frames + num_known)
    return stage.trajectory(
        Clock.of(stage.velocity, solver or Solver(3)),
        torch.randn(num_frames, 18, generator=generator),
        torch.randn(num_known, 80, generator=generator),
        torch.randn(12, generator=generator),
        torch.randn(num_frames - num_known, 80, generator=generator),
        cfg_rate,
    )


def renders(stage: S2MelStageModel) -> list[Trajectory]:
    """Of all lengths, steps, solvers and strengths."""
    return [
        start(stage, 40, 25),
        start(stage, 38, 3, Solver(5, sway=-0.5)),
        start(stage, 41, 30, Solver(4, order=2), 0.2),
        start(stage, 42, 28, Solver(6, guidance_interval=2)),
        start(stage, 90, 60, cfg_rate=0.0),
        start(stage, 85, 5, Solver(2), 0.0),
        start(stage, 12, 9),
    ]


def finish(stepper: Stepper, each: list[Trajectory]) -> None:
    while going := [render for render in each if not render.is_done]:
        stepper.advance(going)


def test_a_batch_gives_what_each_render_gives_alone(stage: S2MelStageModel) -> None:
    """Renders end at different steps, so the batch changes all the time."""
    together, alone = renders(stage), renders(stage)
    finish(Batched(stage.velocity, AS_IT_IS), together)
    finish(OneByOne(stage.velocity), alone)
    for mine, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(mine.mel, expected.mel, rtol=1e-4, atol=1e-4)
        assert mine.mel.std() > 0.1


def test_renders_join_and_leave_in_the_middle_of_their_steps(stage: S2MelStageModel) -> None:
    stepper = Batched(stage.velocity, AS_IT_IS)
    early, late, given_up = start(stage, 40, 25), start(stage, 39, 20), start(stage, 41, 30)
    stepper.advance([early, given_up])
    stepper.advance([late, early])
    finish(stepper, [early, late])
    for mine, expected in ((early, start(stage, 40, 25)), (late, start(stage, 39, 20))):
        finish(OneByOne(stage.velocity), [expected])
        torch.testing.assert_close(mine.mel, expected.mel, rtol=1e-4, atol=1e-4)


def test_one_by_one_no_bit_depends_on_the_mates(stage: S2MelStageModel) -> None:
    together, alone = renders(stage), renders(stage)
    finish(OneByOne(stage.velocity), together)
    for render in alone:
        finish(OneByOne(stage.velocity), [render])
    assert all(torch.equal(a.mel, b.mel) for a, b in zip(together, alone, strict=True))


def in_bfloat16(stage: S2MelStageModel, *, frame_multiple: int) -> VelocityNetwork:
    network = VelocityNetwork(stage.cfm.estimator, torch.bfloat16)
    network.frame_multiple = frame_multiple
    return network


def test_few_sizes_serve_renders_of_all_lengths(stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size is a product more that the CPU's library compiles and keeps."""
    network = VelocityNetwork(stage.cfm.estimator, torch.bfloat16)
    compute, sizes = VelocityNetwork.__call__, set()

    def noted(
        self: VelocityNetwork, x: Tensor, condition: Tensor, modulation: Tensor, frames: Frames, **how: bool
    ) -> Tensor:
        sizes.add((x.shape[1], frames.positions.shape[1]))
        return compute(self, x, condition, modulation, frames, **how)

    monkeypatch.setattr(VelocityNetwork, "__call__", noted)
    for num_frames in range(20, 129):
        OneByOne(network).advance([start(stage, num_frames, num_known=10)])
    assert {size for pair in sizes for size in pair} == {32, 64, 96, 128}


@pytest.mark.parametrize("cfg_rate", [0.0, 0.7])
def test_filling_up_a_size_changes_nothing_but_the_rounding(stage: S2MelStageModel, cfg_rate: float) -> None:
    filled, exact = start(stage, 41, 25, cfg_rate=cfg_rate), start(stage, 41, 25, cfg_rate=cfg_rate)
    finish(OneByOne(in_bfloat16(stage, frame_multiple=32)), [filled])
    finish(OneByOne(in_bfloat16(stage, frame_multiple=1)), [exact])
    torch.testing.assert_close(filled.mel, exact.mel, rtol=0, atol=0.02)
    assert exact.mel.std() > 0.1


def test_a_shape_is_captured_when_it_comes_again(stage: S2MelStageModel) -> None:
    """What is captured reads its inputs anew: the result is that of no capture."""
    capture = Capturing()
    stepper = Batched(stage.velocity, capture)
    render = start(stage, 40, 25)
    stepper.advance([render])
    assert not capture.captured
    finish(stepper, [render])
    finish(stepper, [start(stage, 39, 24)])
    assert len(capture.captured) == 1, "39 and 40 frames are one shape"


def test_no_more_shapes_are_kept_than_allowed(stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_PLANS", 2)
    stepper = Batched(stage.velocity, AS_IT_IS)
    for length in (20, 40, 80):
        finish(stepper, [start(stage, length, 9)])
    assert len(stepper._plans) == 2


def test_shapes_are_kept_as_far_as_their_memory_allows(stage: S2MelStageModel) -> None:
    """The one in use always: a limit below it would otherwise end in a capture at every step."""
    free = Batched(stage.velocity, AS_IT_IS)
    for length in (20, 40, 80):
        finish(free, [start(stage, length, 9, cfg_rate=0.0)])
    sizes = [plan.num_bytes for plan in free._plans.values()]
    assert sizes == sorted(sizes)
    for limit, kept in ((sum(sizes), 3), (sum(sizes) - 1, 2), (sizes[2] + sizes[1] - 1, 1), (0, 1)):
        stepper = Batched(stage.velocity, AS_IT_IS, max_plan_bytes=limit)
        for length in (20, 40, 80):
            finish(stepper, [start(stage, length, 9, cfg_rate=0.0)])
        assert [plan.num_bytes for plan in stepper._plans.values()] == sizes[-kept:]


@pytest.mark.parametrize("limit", [0, None])
def test_a_shape_is_captured_after_all_captured_ones_were_given_up(
    stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """The third render's shape gives up the first one's, which alone had a graph, and comes again."""
    numbers = count(1)
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: next(numbers))
    monkeypatch.setattr(stepping, "MAX_PLANS", 2)
    stepper = Batched(stage.velocity, GraphCapture(torch.device("cuda"), Pools()), max_plan_bytes=limit)
    finish(stepper, [start(stage, 20, 9, cfg_rate=0.0)])
    assert [plan.is_captured for plan in stepper._plans.values()] == [True]
    stepper.advance([start(stage, 40, 9, cfg_rate=0.0)])
    finish(stepper, [start(stage, 80, 9, cfg_rate=0.0)])
    finish(stepper, [start(stage, 40, 9, cfg_rate=0.0)])
    assert all(plan.is_captured for plan in stepper._plans.values())


def test_a_pool_is_kept_while_a_graph_holds_it(stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_PLANS", 2)
    capture = Capturing(is_capturing=True)
    stepper = Batched(stage.velocity, capture)
    for length in (20, 40, 80):
        finish(stepper, [start(stage, length, 9)])
    assert len(capture.captured) == 3
    assert not capture.times_forgotten


def test_a_shape_that_could_not_be_captured_leaves_nothing_when_it_is_given_up(stage: S2MelStageModel) -> None:
    """At once: a collector that comes by later is too late for a device that is full."""
    stepper = Batched(stage.velocity, AS_IT_IS)
    finish(stepper, [start(stage, 40, 25)])
    [left] = [weakref.ref(plan) for plan in stepper._plans.values()]
    gc.disable()
    try:
        stepper.free_memory()
        assert left() is None
    finally:
        gc.enable()


def test_renders_go_on_when_what_was_captured_is_given_up(stage: S2MelStageModel) -> None:
    capture, expected, render = Capturing(), start(stage, 40, 25, Solver(6)), start(stage, 40, 25, Solver(6))
    stepper = Batched(stage.velocity, capture)
    finish(OneByOne(stage.velocity), [expected])
    for step in range(6):
        if step == 3:
            stepper.free_memory()
            assert not stepper._plans
            assert capture.times_forgotten == 1
        stepper.advance([render])
    torch.testing.assert_close(render.mel, expected.mel, rtol=1e-4, atol=1e-4)
    assert len(capture.captured) == 2


def test_a_render_that_is_given_up_leaves_nothing(stage: S2MelStageModel) -> None:
    stepper, render = Batched(stage.velocity, AS_IT_IS), start(stage, 40, 25)
    stepper.advance([render])
    left = weakref.ref(render)
    del render
    gc.collect()
    assert left() is None


def test_without_guidance_no_second_half_is_computed(stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    norm = torch.nn.functional.layer_norm

    def counting(x: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        rows.append(len(x))
        return norm(x, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("torch.nn.functional.layer_norm", counting)
    for rate in (0.0, 0.7):
        OneByOne(stage.velocity).advance([start(stage, 40, 25, cfg_rate=rate)])
    assert rows == [1, 2]


@pytest.mark.parametrize("make", [OneByOne, lambda network: Batched(network, AS_IT_IS)])
def test_guidance_stays_as_it_was_between_two_looks_at_it(
    stage: S2MelStageModel, make: Callable[[VelocityNetwork], Stepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    compute = VelocityNetwork.__call__

    def noting(network: VelocityNetwork, *arguments: object, is_guided: bool) -> torch.Tensor:
        looks.append(is_guided)
        return compute(network, *arguments, is_guided=is_guided)  # type: ignore[arg-type]

    monkeypatch.setattr(VelocityNetwork, "__call__", noting)
    made = {}
    for interval in (1, 3):
        render = start(stage, 40, 25, Solver(8, guidance_interval=interval))
        finish(make(stage.velocity), [render])
        made[interval] = render.mel
    assert looks[:8] == [True] * 8
    # Steps begin at 0, 1/8, 2/8, and from 3/8 on the flow counts as settled.
    assert looks[8:] == [True, True, True, True, False, False, True, False]
    difference = (made[1] - made[3]).abs()
    assert 1e-4 < difference.mean() < 0.2 * made[1].std()
