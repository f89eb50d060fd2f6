"""What the gateway tells a child process to decode."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Job:
    """What to decode into, and the bounds of a recording."""

    rates: tuple[int, ...]
    used_seconds: float
    min_seconds: float
    max_seconds: float
    min_rate_hz: int
    max_rate_hz: int
    max_channels: int


def job_argument(job: Job, *, memory_bytes: int, cpu_seconds: int) -> str:
    """The argument that makes a child do this job within these bounds."""
    return json.dumps({**asdict(job), "memory_bytes": memory_bytes, "cpu_seconds": cpu_seconds})
