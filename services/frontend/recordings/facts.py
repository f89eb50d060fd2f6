"""What is known of a recording without its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class VoiceWarningReason(StrEnum):
    """What is wrong with a recording that can be used all the same; the words are the public contract's."""

    SHORT = "SHORT"
    LONG = "LONG"
    CLIPPED = "CLIPPED"
    NOISY = "NOISY"
    LOW_SAMPLE_RATE = "LOW_SAMPLE_RATE"


class VoiceWarning(NamedTuple):
    reason: VoiceWarningReason
    message: str


@dataclass(frozen=True)
class RecordingFacts:
    """Length, format and flaws of a recording."""

    duration_seconds: float
    used_seconds: float
    sample_rate_hz: int
    channels: int
    warnings: tuple[VoiceWarning, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordingFacts:
        """The facts that `to_json` gave.

        Raises:
            ValueError: These are no facts, or facts of an older form, which are found anew from the recording.
        """
        try:
            warnings = tuple(
                VoiceWarning(VoiceWarningReason(reason), str(message)) for reason, message in data.get("warnings", ())
            )
            return cls(**{**data, "warnings": warnings})
        except (AttributeError, TypeError) as error:
            raise ValueError("these are no facts of a recording") from error
