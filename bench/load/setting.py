"""What may differ between two runs that are compared, and how it is said beside every figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from triptych import Model, Options, Render

_TIMEOUT_SECONDS = 600.0
_STEPS = "steps"


@dataclass(frozen=True)
class Setting:
    """The settings of the calls of one run; what is left out is the server's own."""

    policy: str = ""
    steps: int | None = None
    chunk_ms: int | None = None

    def options(self, seed: int) -> Options:
        """Of a call with this seed; a time limit keeps a stuck call from holding up a run for ever."""
        render = Render(steps=self.steps, policy=self.policy)
        return {"render": render, "chunk_ms": self.chunk_ms, "seed": seed, "timeout": _TIMEOUT_SECONDS}

    @property
    def label(self) -> str:
        """A short name that two settings do not share."""
        steps = f"{self.steps} steps" if self.steps is not None else ""
        chunks = f"chunks of {self.chunk_ms} ms" if self.chunk_ms is not None else ""
        return ", ".join(part for part in (self.policy or "default", steps, chunks) if part)


_AXES: Mapping[str, Callable[[str], object]] = {"policy": str, "steps": int, "chunk_ms": int}
"""What can be compared, and how its values are read."""


def compared(base: Setting, comparison: str) -> list[Setting]:
    """Return the settings to alternate between, the first being what the others are compared with.

    Args:
        base: What they share.
        comparison: ``policy=A,B``, ``steps=A,B`` or ``chunk_ms=A,B``; empty for `base` alone.

    Raises:
        ValueError: if it is none of these, or two are the same.
    """
    if not comparison:
        return [base]
    name, _, joined = comparison.partition("=")
    values = [value.strip() for value in joined.split(",")]
    if name not in _AXES or not all(values):
        raise ValueError(f"--compare is NAME=A,B with a name of: {', '.join(_AXES)}")
    if len(set(values)) < len(values):
        raise ValueError("--compare has the same value twice")
    return [replace(base, **{name: _AXES[name](value)}) for value in values]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Conditions:
    """What a figure holds for, resolved: what a setting leaves out is what the server says."""

    policy: str
    steps: int | None
    """None where the server does not say."""
    prompt_seconds: float | None

    def __str__(self) -> str:
        steps = "the server's steps" if self.steps is None else f"{self.steps} steps"
        prompt = "the server's prompt" if self.prompt_seconds is None else f"{self.prompt_seconds:g} s of prompt"
        return f"policy {self.policy}, {steps}, {prompt}"


@dataclass(frozen=True)
class PolicyFacts:
    """What a server says of a policy."""

    name: str
    steps: int | None
    prompt_seconds: float


def facts_of(model: Model) -> list[PolicyFacts]:
    """The policies of a model; empty of a server that does not tell their numbers."""
    usual = next((parameter.default for parameter in model.parameters if parameter.name == _STEPS), None)
    return [
        PolicyFacts(policy.name, _whole(policy.params.get(_STEPS, usual)), policy.prompt_seconds)
        for policy in model.policy_numbers
    ]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def conditions(setting: Setting, model_policies: Sequence[str], facts: Sequence[PolicyFacts]) -> Conditions:
    """Resolve a setting.

    Args:
        setting: What is asked for.
        model_policies: The model's policies by name, the default one first.
        facts: Of the policies; empty where the server does not tell.
    """
    name = setting.policy or model_policies[0]
    known = next((fact for fact in facts if fact.name == name), None)
    steps = setting.steps if setting.steps is not None or known is None else known.steps
    return Conditions(name, steps, known.prompt_seconds if known is not None else None)
