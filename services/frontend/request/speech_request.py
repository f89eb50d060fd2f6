"""What one utterance asks of the pipeline, in the gateway's own words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import DeadlineError
from services.frontend.audio import AudioFormat
from services.frontend.text import TextOptions
from services.frontend.workers.stage_run import StageVoice
from services.frontend.workers.topology import Pipeline


@dataclass(frozen=True)
class StageInputs:
    """What one stage gets in Open besides what all stages get."""

    params: Mapping[str, float] = field(default_factory=dict)
    options: Sequence[stage_pb2.Tensor] = ()
    voice: StageVoice = field(default_factory=StageVoice)


@dataclass(frozen=True)
class SpeechRequest:
    """One utterance, checked and resolved."""

    utterance_id: str
    session_id: str
    seed: int
    pipeline: Pipeline
    policy: stage_pb2.Policy
    inputs: Mapping[str, StageInputs]
    """By stage name."""
    audio: AudioFormat
    text: TextOptions
    """Complete: with the limit of tokens that holds for this model."""
    voice_id: str = ""
    """Hash of the voice's recording, or the name of one of the model's own speakers."""
    speaker: str = ""
    """One of the model's own speakers, or empty."""
    language: str = ""
    """As the caller named it, empty to detect it; `text.language` is the model's own tag for it."""
    instruction: str = ""
    max_first_audio_ms: int = 0
    """0 for no limit."""
    priority: int = 0
    deadline: float | None = None
    """Unix time in seconds."""

    def time_left(self) -> float | None:
        """Seconds until the deadline.

        Raises:
            DeadlineError: It has passed.
        """
        if self.deadline is None:
            return None
        left = self.deadline - time.time()
        if left <= 0:
            raise DeadlineError("the deadline passed while the utterance was in work")
        return left

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The ids that go with every stage call."""
        ids = (("utterance-id", self.utterance_id), ("session-id", self.session_id))
        return tuple((key, value) for key, value in ids if value)

    def opening(self, stage: str) -> stage_pb2.Open:
        """The message that opens a run of this utterance in a stage; it may begin with any segment."""
        inputs = self.inputs.get(stage, StageInputs())
        about = self.pipeline.pool(stage).about
        return stage_pb2.Open(
            utterance_id=self.utterance_id,
            session_id=self.session_id,
            model=self.pipeline.identity,
            seed=self.seed,
            policy=self.policy,
            deadline_unix_ms=int(self.deadline * 1000) if self.deadline is not None else 0,
            priority=self.priority,
            voice_hash=inputs.voice.digest,
            params=dict(inputs.params),
            options=inputs.options,
            instruction=self.instruction if about.takes_instruction else "",
            speaker=self.speaker if self.speaker in about.speakers else "",
            language=self.text.language,
        )
