"""What the stages take of a device follows from what the device has less; a limit that they break is a missed goal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import report
from bench.stages import encoder_weights, gpu_memory
from bench.stages.gpu_memory import PLANS, Part, Plan, Run, Use
from bench.stages.gpu_rows import Setting, memory_parts
from bench.stages.workload import TOY, Workload

GB = int(gpu_memory.GB)
CONTEXT = GB // 2


class OutOfMemoryError(Exception):
    """As torch's."""


class FakeDevice:
    """Memory that is kept by stages, or cached until it is forgotten."""

    def __init__(self) -> None:
        self.kept = 0
        self.cached = 0
        self.most: int | None = None
        self.limits: list[int | None] = []

    def held(self) -> int:
        return CONTEXT + self.kept + self.cached

    def peak_allocated(self) -> int:
        return self.kept

    def reset_peak(self) -> None:
        pass

    def forget(self) -> None:
        self.cached = 0

    def limit(self, num_bytes: int | None) -> None:
        self.most = num_bytes
        self.limits.append(num_bytes)

    def keep(self, num_bytes: int) -> None:
        self._check(num_bytes)
        self.kept += num_bytes

    def cache(self, num_bytes: int) -> None:
        # What was cached before serves again, as in torch's allocator.
        self._check(max(0, num_bytes - self.cached))
        self.cached = max(self.cached, num_bytes)

    def _check(self, num_bytes: int) -> None:
        if self.most is not None and self.kept + self.cached + num_bytes > self.most:
            raise OutOfMemoryError


def parts(device: FakeDevice, *sizes: tuple[int, int]) -> list[Part]:
    """Stages by what they keep and what their work caches, in GB."""

    def part(name: str, kept: int, cached: int) -> Part:
        def load() -> Run:
            device.keep(kept * GB)
            return lambda: device.cache(cached * GB)

        return Part(name, load)

    names = ("gpt", "s2mel", "vocoder")
    return [part(name, *size) for name, size in zip(names, sizes, strict=True)]


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    made = FakeDevice()
    yield made
    assert made.most is None, "the limit is taken away again"


def measured(device: FakeDevice, cap_gb: float | None, *sizes: tuple[int, int]) -> Use:
    return gpu_memory.measure(parts(device, *sizes), device, cap_gb, (OutOfMemoryError,))


def test_each_stage_counts_what_it_keeps_and_what_its_work_takes_and_each_process_its_context(
    device: FakeDevice,
) -> None:
    use = measured(device, None, (2, 1), (1, 1), (0, 1))
    assert [stage.loaded for stage in use.stages.values()] == [2 * GB, GB, 0]
    assert [stage.reserved for stage in use.stages.values()] == [3 * GB, 2 * GB, GB]
    assert use.total == 6 * GB + 3 * CONTEXT


def test_without_a_cap_nothing_hides_what_is_taken(device: FakeDevice) -> None:
    plan = Plan("memory", 1, has_encoders=True, goal_gb=6)
    made = {"memory": gpu_memory.figure(plan, measured(device, None, (9, 9), (1, 1), (0, 1)), {})}
    assert made["memory"]["value"] == 22.5
    assert report.failures(made) == ["memory is 22.5 GB, its goal <= 6"]
    assert device.limits == [None, None]


def test_stages_that_fit_a_cap_meet_its_goal_by_what_they_took(device: FakeDevice) -> None:
    plan = Plan("memory", 1, has_encoders=True, goal_gb=8, cap_gb=8)
    made = {"memory": gpu_memory.figure(plan, measured(device, 8, (2, 1), (1, 2), (0, 1)), {"dtype": "bf16"})}
    assert device.limits[0] == 8 * GB - 3 * CONTEXT
    assert made["memory"]["value"] == 6.5
    assert made["memory"]["dtype"] == "bf16"
    assert report.failures(made) == []


def test_running_out_of_memory_under_a_cap_is_a_missed_goal(device: FakeDevice) -> None:
    plan = Plan("memory", 1, has_encoders=True, goal_gb=8, cap_gb=8)
    use = measured(device, 8, (2, 1), (1, 9), (0, 1))
    made = {"memory": gpu_memory.figure(plan, use, {})}
    assert report.failures(made) == ["memory is missing: out of memory in s2mel: OutOfMemoryError"]
    assert list(use.stages) == ["gpt"]
    assert "out of memory in s2mel" in gpu_memory.table([(plan, use)])


def test_the_plans_hold_uncapped_memory_against_each_goal_and_one_run_against_the_cap() -> None:
    uncapped = {(plan.streams, plan.has_encoders): plan.goal_gb for plan in PLANS if plan.cap_gb is None}
    assert uncapped == {(1, True): 6, (1, False): 4, (8, True): 10}
    assert [(plan.cap_gb, plan.has_encoders) for plan in PLANS if plan.cap_gb is not None] == [(8, True)]


def test_the_real_stages_load_and_run_one_after_another(device: FakeDevice) -> None:
    setting = Setting(TOY, Workload(codes=30, text_ids=10, prompt_frames=20, steps=2), "cpu", "fp32", (2,), (2,))
    use = gpu_memory.measure(memory_parts(setting, has_encoders=False), device, None, (OutOfMemoryError,))
    assert list(use.stages) == ["gpt", "s2mel", "vocoder"]
    assert not use.failure


def test_there_are_as_many_slots_as_by_default_or_as_streams() -> None:
    def setting(*streams: int) -> Setting:
        return Setting(TOY, Workload(), "cpu", "fp32", streams, (2,))

    assert [setting(1).slots, setting(1, 8).slots] == [4, 8]


def test_voice_encoders_are_those_that_are_used() -> None:
    """17 of the 24 layers of w2v-BERT and the GPT's conditioners, in float32."""
    assert encoder_weights.num_bytes() == pytest.approx(3.01e9, rel=0.02)
