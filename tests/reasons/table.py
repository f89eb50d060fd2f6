"""The table itself: `reaches` puts a request into it, which must end with the reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from protos.tts.v1 import synthesis_pb2
from services.common.reasons import Reason
from tests.fakes.system import FakeSystem
from tests.reasons.failures import Failure

Message = synthesis_pb2.StreamingSynthesizeRequest
Config = synthesis_pb2.SynthesisConfig


@dataclass(frozen=True)
class Place:
    """Where a request is made."""

    system: FakeSystem
    """A gateway over fake stages that all rows share."""
    directory: Path
    """Empty, for this row alone."""


Reach = Callable[[Place], Awaitable[Failure]]


@dataclass(frozen=True)
class Row:
    """A request, and what its failure says beside the reason."""

    reach: Reach
    field: str = ""
    stage: str = ""
    is_utterance: bool = False
    """Whether the call had begun to speak, so that the failure names the utterance."""


TABLE: dict[Reason, Row] = {}


def reaches(
    reason: Reason, *, field: str = "", stage: str = "", is_utterance: bool = False
) -> Callable[[Reach], Reach]:
    """Enter a request into the table."""

    def enter(reach: Reach) -> Reach:
        assert reason not in TABLE, f"{reason} is reached twice"
        TABLE[reason] = Row(reach, field, stage, is_utterance)
        return reach

    return enter


def speech(text: str, /, **fields: object) -> synthesis_pb2.SynthesizeRequest:
    return synthesis_pb2.SynthesizeRequest(text=text, config=Config(**fields))  # type: ignore[arg-type]
