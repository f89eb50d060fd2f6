"""What may differ between two deployments of any worker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.settings import ServiceSettings


class StageSettings(ServiceSettings):
    """Each worker adds its own environment prefix and default ports."""

    model_dir: Path = Path("models/mini")
    """Checkpoint directory in the official layout; the embedded small one unless set."""

    slots: int = Field(default=4, ge=1, le=256)
    """Utterances that can be in work at once; one more is refused."""

    max_batch_size: int = Field(default=8, ge=1, le=256)
    """Utterances that share one step of the engine."""

    threads: int = Field(default=1, ge=1, le=64)
    """CPU threads of one step."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda)$")
    """auto takes the first GPU that the process can see, and the CPU where there is none."""
