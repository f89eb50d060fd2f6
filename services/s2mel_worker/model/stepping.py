"""Carries renders a step on: one after another, or together in padded batches of fixed shapes.

One after another is for the CPU: a row's numbers cannot depend on its mates, and nobody waits for them. There a render
is padded only where products are compiled for their size. Batches are for a GPU: renders at different steps, with
different solvers, share one. Their shapes come from a short list, so that a step can be captured once and replayed.
"""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from services.common.cuda_graphs import Capture, Compute
from services.s2mel_worker.model.batching import groups, rows_bucket, size_bucket
from services.s2mel_worker.model.frames import Frames, Span
from services.s2mel_worker.model.trajectory import Trajectory
from services.s2mel_worker.model.velocity import VelocityNetwork

MAX_ROWS = 32
"""Renders that share a batch at most."""

MAX_PLANS = 64
"""Shapes that are kept ready; the one that was used longest ago goes first."""


class Stepper(Protocol):
    batch_limit: int
    """The most renders that a call should be given."""

    def advance(self, renders: Sequence[Trajectory]) -> None:
        """Carry every render one step on."""

    def free_memory(self) -> None:
        """Give up what is kept for the next steps; it is made again when it is needed."""


class OneByOne:
    batch_limit = 1

    def __init__(self, network: VelocityNetwork) -> None:
        self._network = network

    def advance(self, renders: Sequence[Trajectory]) -> None:
        for render in renders:
            is_guided = render.is_guidance_due
            frames = self._layout(render.span, num_rows=2 if is_guided else 1)
            x, condition = (self._padded(part) for part in (render.x, render.condition))
            velocities = self._network(x, condition, render.modulation[None], frames, is_guided=is_guided)
            render.advance(velocities[:, 0])

    def free_memory(self) -> None:
        """Nothing is kept."""

    def _layout(self, span: Span, num_rows: int) -> Frames:
        network = self._network
        if network.frame_multiple == 1:
            return Frames.of([span] * num_rows, network.num_taps, network.device)
        sizes = {"num_frames": self._size(span.num_frames), "num_tail_frames": self._size(span.tail_frames)}
        return Frames.of([span] * num_rows, network.num_taps, network.device, **sizes)

    def _padded(self, frames: Tensor) -> Tensor:
        """(T, width) as a batch of one item: (1, size, width), 0 behind its end."""
        return F.pad(frames, (0, 0, 0, self._size(len(frames)) - len(frames)))[None]

    def _size(self, length: int) -> int:
        multiple = self._network.frame_multiple
        return -(-length // multiple) * multiple


class Batched:
    """Renders of similar length together.

    Args:
        network: The velocity.
        capture: What steps are repeated with.
        batch_limit: The most rows of a batch.
        max_plan_bytes: What is kept ready may take, but for the shape in use; None sets no limit but `MAX_PLANS`.
    """

    def __init__(
        self, network: VelocityNetwork, capture: Capture, batch_limit: int = MAX_ROWS, max_plan_bytes: int | None = None
    ) -> None:
        self.batch_limit = batch_limit
        self._max_plan_bytes = math.inf if max_plan_bytes is None else max_plan_bytes
        self._network = network
        self._capture = capture
        self._plans: OrderedDict[tuple[int, int, int, bool], _Plan] = OrderedDict()

    def advance(self, renders: Sequence[Trajectory]) -> None:
        # Sorted before the first of them moves on.
        halves = {is_guided: [r for r in renders if r.is_guidance_due == is_guided] for is_guided in (False, True)}
        for is_guided, alike in halves.items():
            lengths = [render.span.num_frames for render in alike]
            for group in groups(lengths, most=self.batch_limit):
                self._step([alike[n] for n in group], is_guided=is_guided)

    def _step(self, renders: list[Trajectory], *, is_guided: bool) -> None:
        num_frames = size_bucket(max(render.span.num_frames for render in renders))
        num_tail = size_bucket(max(render.span.tail_frames for render in renders))
        key = (rows_bucket(len(renders)), num_frames, num_tail, is_guided)
        plan = self._plans.pop(key, None) or _Plan(self._network, self._capture, *key)
        self._plans[key] = plan
        self._give_up_plans()
        for render, velocities in zip(renders, plan.velocities(renders).transpose(0, 1), strict=False):
            render.advance(velocities)

    def free_memory(self) -> None:
        self._plans.clear()
        self._capture.forget()

    def _give_up_plans(self) -> None:
        """Those that were used longest ago, but never the last one."""
        num_graphs = self._num_graphs
        taken = sum(plan.num_bytes for plan in self._plans.values())
        while len(self._plans) > 1 and (len(self._plans) > MAX_PLANS or taken > self._max_plan_bytes):
            _, oldest = self._plans.popitem(last=False)
            taken -= oldest.num_bytes
        if num_graphs and not self._num_graphs:
            # Torch refuses to capture into a pool whose graphs are all gone.
            self._capture.forget()

    @property
    def _num_graphs(self) -> int:
        return sum(plan.is_captured for plan in self._plans.values())


class _Plan:
    """One shape of batch: the tensors that it reads, and the computation on them."""

    def __init__(
        self, network: VelocityNetwork, capture: Capture, num_rows: int, num_frames: int, num_tail: int, is_guided: bool
    ) -> None:
        self._network, self._capture = network, capture
        self._sizes = {"num_frames": num_frames, "num_tail_frames": num_tail}
        self._is_guided = is_guided
        self._num_rows = num_rows
        self._loaded: list[weakref.ref[Trajectory]] = []
        """Whose statics are in the tensors; a render that was given up must not live on here."""
        self._x = torch.zeros(num_rows, num_frames, network.num_bins, device=network.device)
        self._condition = torch.zeros(num_rows, num_frames, network.width, device=network.device)
        self._modulation = torch.zeros(num_rows, network.num_modulations, device=network.device)
        self._frames = self._layout([])
        halves = 2 if is_guided else 1
        made_bytes = halves * num_rows * num_tail * network.num_bins * self._x.itemsize
        held = (self._x, self._condition, self._modulation)
        self.num_bytes = sum(tensor.nbytes for tensor in held) + self._frames.num_bytes + made_bytes
        """What it reads, and what comes of it."""
        self._repeat: Compute | None = None
        """Stays None where the computation could not be captured."""
        self._num_uses = 0

    @property
    def is_captured(self) -> bool:
        return self._repeat is not None

    def velocities(self, renders: list[Trajectory]) -> Tensor:
        """(halves, rows, S, M), valid until the next call."""
        self._load(renders)
        self._num_uses += 1
        if self._num_uses == 2:
            # Not at once: a shape that comes once is not worth it. And not again: there was no memory for it.
            self._repeat = self._captured()
        return self._repeat() if self._repeat else self._compute()

    def _captured(self) -> Compute | None:
        compute = self._compute
        repeat = self._capture(compute)
        # Kept here, the plan's own method would be a cycle: its tensors would outlive a plan that is given up.
        return None if repeat is compute else repeat

    def _compute(self) -> Tensor:
        return self._network(self._x, self._condition, self._modulation, self._frames, is_guided=self._is_guided)

    def _load(self, renders: list[Trajectory]) -> None:
        wanted = [weakref.ref(render) for render in renders]
        if wanted != self._loaded:
            # A load that fails on the way has left parts of it.
            self._loaded = []
            self._load_statics(renders)
            self._loaded = wanted
        for row, render in enumerate(renders):
            self._x[row, : len(render.x)] = render.x
            self._x[row, len(render.x) :] = 0
            self._modulation[row] = render.modulation

    def _load_statics(self, renders: list[Trajectory]) -> None:
        for row, render in enumerate(renders):
            self._condition[row, : len(render.condition)] = render.condition
            # What is masked is multiplied by 0, and 0 times what is no number is none.
            self._condition[row, len(render.condition) :] = 0
        self._frames.copy_(self._layout([render.span for render in renders]))

    def _layout(self, spans: list[Span]) -> Frames:
        # Rows without a render have one frame: attention over none would not be a number.
        rows = spans + [Span(1, 0, 0)] * (self._num_rows - len(spans))
        return Frames.of(
            rows * (2 if self._is_guided else 1), self._network.num_taps, self._network.device, **self._sizes
        )
