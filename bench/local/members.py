"""Who belongs to a local system: three workers for each model, further replicas, and one gateway for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GATEWAY = "frontend"
PREFIXES = {
    "gpt_worker": "TTS_GPT_",
    "s2mel_worker": "TTS_S2MEL_",
    "vocoder_worker": "TTS_VOCODER_",
    GATEWAY: "TTS_FRONTEND_",
}
WORKERS = tuple(module for module in PREFIXES if module != GATEWAY)


@dataclass(frozen=True)
class Member:
    """One process of the system."""

    name: str
    """The module; module-2, -3 for replicas; with @2, @3 behind it for the second and third model."""
    module: str
    model_dir: Path
    """Of the gateway, the default model's."""
    gpu: str | None = None
    """What it may see of the machine's GPUs; all of them if None."""

    @property
    def prefix(self) -> str:
        return PREFIXES[self.module]


def members_of(model_dirs: Sequence[Path], replicas: Mapping[str, int], gpus: Sequence[str]) -> list[Member]:
    """Return the workers, model by model and stage by stage, and the gateway last.

    GPUs are dealt to the workers in this order, and again from the first when there are fewer of them.
    """
    members: list[Member] = []
    for number, model_dir in enumerate(model_dirs, start=1):
        suffix = f"@{number}" if number > 1 else ""
        for module in WORKERS:
            for replica in range(1, replicas.get(module, 1) + 1):
                name = f"{module}-{replica}" if replica > 1 else module
                gpu = gpus[len(members) % len(gpus)] if gpus else None
                members.append(Member(f"{name}{suffix}", module, model_dir, gpu))
    return [*members, Member(GATEWAY, GATEWAY, model_dirs[0])]
