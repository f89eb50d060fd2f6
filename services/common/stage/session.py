"""One utterance in work in this worker: what was asked, and what its caller may still send and receive."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import IntEnum

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError, TtsError
from services.common.stage import checks
from services.common.stage.listener import Listener
from services.common.stage.policy import Policy
from services.common.stage.spec import Edge


class FinishReason(IntEnum):
    """Numbers equal those of the proto."""

    NONE = 0
    STOP = 1
    MAX_CODES = 2
    CANCELLED = 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of items of one segment."""

    segment: int
    start: int
    """Absolute index of the first item in its segment."""
    tensors: Tensors
    is_segment_end: bool = False
    finish_reason: FinishReason = FinishReason.NONE

    @property
    def length(self) -> int:
        return next((len(array) for array in self.tensors.values()), 0)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where to take over a stream that another worker began."""

    segment: int
    next_index: int
    """First item that is to come out, in items of the edge that the stage gives."""
    state: Tensors


@dataclass(slots=True)
class Stats:
    steps: int = 0
    items: int = 0
    compute_seconds: float = 0.0
    wait_seconds: float = 0.0
    max_batch_size: int = 0


@dataclass(eq=False, slots=True)
class Session:
    """Engines read the first block and have `used` counted; the loop and the servicer own the rest."""

    utterance_id: str
    seed: int
    policy: Policy
    params: dict[str, float]
    options: Tensors
    voice: dict[str, Array]
    resume: ResumePoint | None = None
    priority: int = 0
    deadline: float | None = None
    """On `time.monotonic`'s clock."""
    instruction: str = ""
    """How to speak, in words; empty unless the stage takes instructions."""
    speaker: str = ""
    """One of the stage's own speakers, or empty."""
    language: str = ""
    """BCP-47 tag, or empty when it was left to the text."""
    voice_hash: str = ""
    """Of the voice's tensors: what is derived from them may be kept under it; empty when it is not known."""

    used: int = 0
    """Chunks that came and are used up, or dropped; `SegmentQueue` counts them."""

    credit: int = 0
    """Chunks that the caller is ready to receive."""
    outbox: asyncio.Queue[Chunk | TtsError | None] = field(default_factory=asyncio.Queue)
    """What the engine made, at most `credit` chunks; None wakes the writer to look at its own state."""
    stats: Stats = field(default_factory=Stats)
    told_used: int = 0
    """What of `used` the writer has been told."""
    has_failed: bool = False
    """An error is on its way to the caller; nothing more is done for this session."""
    is_closed: bool = False
    opened: float = field(default_factory=time.monotonic)
    ready_since: float | None = None
    """When the engine first had work for it."""
    last_served: float = field(default_factory=time.monotonic)
    is_beginning: bool = False
    """Said by the engine: of all sessions that begin, a step takes in a piece of one alone."""
    listener: Listener = field(default_factory=Listener)

    @property
    def is_slow_to_begin(self) -> bool:
        """Whether many steps come before its next output: a whole segment's, or first those that another worker did."""
        is_replaying = self.resume is not None and self.listener.plays_until is None
        return self.policy.is_whole or bool(self.params.get("compat")) or is_replaying

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline


class InputOrder:
    """Checks that chunks come in order, fit their edge and leave no gap.

    Args:
        edge: What the stage takes.
        first_segment: The segment that the stream begins with; of a fresh stream any.
        first_start: Index of the first item of that segment that the caller must send.
    """

    def __init__(self, edge: Edge, first_segment: int | None, first_start: int) -> None:
        self._specs = edge.tensors
        self._segment = first_segment
        self._next = first_start
        self._has_ended = False

    def check(self, chunk: Chunk) -> None:
        """Raise InvalidRequestError when the chunk does not follow the one before."""
        self._check_tensors(chunk)
        if self._segment is None:
            self._segment = chunk.segment
        if chunk.segment < self._segment or (chunk.segment == self._segment and self._has_ended):
            raise InvalidRequestError(
                f"segment {chunk.segment} comes after segment {self._segment}", field="chunk.segment"
            )
        if chunk.segment > self._segment:
            if not self._has_ended:
                raise InvalidRequestError(
                    f"segment {chunk.segment} begins before segment {self._segment} has ended",
                    field="chunk.segment",
                )
            self._segment, self._next = chunk.segment, 0
        if chunk.start != self._next:
            raise InvalidRequestError(
                f"chunk starts at {chunk.start}; the next item of segment {chunk.segment} is {self._next}",
                field="chunk.start",
            )
        self._next += chunk.length
        self._has_ended = chunk.is_segment_end

    def cancel(self, segment: int) -> None:
        """Let the next chunk be of a later segment although this one has not ended."""
        if self._segment == segment:
            self._has_ended = True

    def _check_tensors(self, chunk: Chunk) -> None:
        checks.check_kinds(chunk.tensors, self._specs, field="chunk.tensors")
        lengths = {len(array) for array in chunk.tensors.values()}
        if len(lengths) > 1:
            raise checks.tensor_error(f"tensors have different lengths {sorted(lengths)}", "chunk.tensors")
