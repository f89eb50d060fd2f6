"""When what happened to one utterance, on one clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """Milliseconds since the gateway took the call."""

    started: float = field(default_factory=time.monotonic)
    first_audio_ms: float = 0.0
    first_token_ms: float = 0.0
    """When the first code was there; 0 for models without codes."""
    queue_ms: float = 0.0
    """Waited for slots, in sum."""
    total_ms: float = 0.0
    compute_ms: dict[str, float] = field(default_factory=dict)
    first_output_ms: dict[str, float] = field(default_factory=dict)

    def elapsed_ms(self) -> float:
        return 1000 * (time.monotonic() - self.started)

    def note_output(self, stage: str) -> None:
        self.first_output_ms.setdefault(stage, self.elapsed_ms())

    def note_token(self) -> None:
        self.first_token_ms = self.first_token_ms or self.elapsed_ms()

    def note_audio(self) -> None:
        self.first_audio_ms = self.first_audio_ms or self.elapsed_ms()

    def add_compute(self, stage: str, milliseconds: float) -> None:
        self.compute_ms[stage] = self.compute_ms.get(stage, 0.0) + milliseconds

    def add_queue(self, seconds: float) -> None:
        self.queue_ms += 1000 * seconds

    def finish(self) -> None:
        self.total_ms = self.elapsed_ms()
