"""How much device memory the stages take, one after another, and whether they run under a limit.

Counted is what the device has less, whoever allocates: torch, its graphs, ONNX Runtime. Each stage is loaded and run
once with those before it resident, and what it then keeps is its own. Three processes have three CUDA contexts, so the
one of this process counts three times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench import report

CONTEXTS = 3
GB = 1e9
Run = Callable[[], object]


class Meter(Protocol):
    """The memory of a device; in bytes."""

    def held(self) -> int:
        """What the device has less, the context of this process included."""

    def peak_allocated(self) -> int:
        """Most that torch's tensors took since `reset_peak`."""

    def reset_peak(self) -> None: ...

    def forget(self) -> None:
        """Give back what nobody uses."""

    def limit(self, num_bytes: int | None) -> None:
        """Let torch take no more in all, from now on; None takes the limit away."""


@dataclass(frozen=True)
class Part:
    """A stage: its load returns what runs its workload once."""

    name: str
    load: Callable[[], Run]


@dataclass(frozen=True)
class Plan:
    """One measurement of all stages together."""

    key: str
    streams: int
    has_encoders: bool
    """Whether the networks that only a new voice needs are on the device."""
    goal_gb: float
    cap_gb: float | None = None
    """An enforced limit; running out of it fails the goal."""


PLANS = (
    Plan("memory_gb_1_stream", 1, has_encoders=True, goal_gb=6),
    Plan("memory_gb_1_stream_encoders_off", 1, has_encoders=False, goal_gb=4),
    Plan("memory_gb_8_streams", 8, has_encoders=True, goal_gb=10),
    Plan("memory_gb_1_stream_capped", 1, has_encoders=True, goal_gb=8, cap_gb=8),
)


@dataclass(frozen=True)
class StageUse:
    """What one stage took, in bytes."""

    loaded: int
    reserved: int
    """Loaded, and kept after its work."""
    peak_allocated: int
    """Of torch's tensors while it worked, those of stages before it included."""


@dataclass
class Use:
    """What all stages took, in bytes."""

    context: int
    """Of one process before anything is loaded, other processes' memory on the device included."""
    stages: dict[str, StageUse] = field(default_factory=dict)
    failure: str = ""
    """Why it did not fit; empty when it did."""

    @property
    def total(self) -> int:
        return CONTEXTS * self.context + sum(stage.reserved for stage in self.stages.values())


def measure(parts: Sequence[Part], meter: Meter, cap_gb: float | None, errors: tuple[type[Exception], ...]) -> Use:
    """Load and run the stages one after another.

    Args:
        parts: The stages; they stay loaded until the last has run.
        meter: Of the device.
        cap_gb: What all stages and contexts together may take; None for what the device has.
        errors: What says that memory ran out.
    """
    meter.forget()
    use = Use(context=meter.held())
    meter.limit(None if cap_gb is None else int(cap_gb * GB) - CONTEXTS * use.context)
    loaded: list[Run] = []
    try:
        for part in parts:
            use.stages[part.name] = _stage_use(part, meter, loaded, is_capped=cap_gb is not None)
    except errors as error:
        use.failure = f"{part.name}: {type(error).__name__}"
    finally:
        meter.limit(None)
    return use


def _stage_use(part: Part, meter: Meter, loaded: list[Run], *, is_capped: bool) -> StageUse:
    before = meter.held()
    meter.reset_peak()
    run = part.load()
    loaded.append(run)
    after_load = meter.held()
    run()
    use = StageUse(after_load - before, meter.held() - before, meter.peak_allocated())
    if not is_capped:
        # The next stage must not find memory that in a process of its own it would not have.
        meter.forget()
    return use


def figure(plan: Plan, use: Use, more: Mapping[str, object]) -> dict[str, object]:
    """A plan's figure: running out of memory is a missed goal, whatever was taken until then."""
    goal = f"<= {plan.goal_gb:g}"
    told: dict[str, Any] = {
        **more,
        "streams": plan.streams,
        "voice_encoders": "on the device" if plan.has_encoders else "off the device",
        "cap_gb": plan.cap_gb,
        "context_gb": _gb(use.context),
        "stages": {name: {key: _gb(value) for key, value in vars(stage).items()} for name, stage in use.stages.items()},
    }
    if use.failure:
        return report.missing("GB", f"out of memory in {use.failure}", goal, **told)
    return report.figure(_gb(use.total), "GB", goal, **told)


def table(found: Sequence[tuple[Plan, Use]]) -> str:
    """Every stage of every plan."""
    lines = ["| figure | stage | loaded, GB | with its work, GB | torch's peak, GB |", "|---|---|---:|---:|---:|"]
    for plan, use in found:
        for name, stage in use.stages.items():
            values = " | ".join(str(_gb(value)) for value in vars(stage).values())
            lines.append(f"| {plan.key} | {name} | {values} |")
        if use.failure:
            lines.append(f"| {plan.key} | out of memory in {use.failure} | | | |")
    return "\n".join(lines)


def _gb(num_bytes: int) -> float:
    return round(num_bytes / GB, 3)
