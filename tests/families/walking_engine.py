"""What the engines of these families share: they walk through a segment, and each item of it becomes a few."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.engine import Output
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import EdgeKind, StageSpec

HELD_SECONDS = 20.0


class _Walk:
    """Where a session is."""

    def __init__(self, session: Session) -> None:
        self.queue = SegmentQueue(session)
        self.resume = session.resume
        self.segment: int | None = None
        self.next_item = 0
        """First item of the segment that nothing has been made of."""


class WalkingEngine(ABC):
    """See `services.common.stage.engine.Engine`. An engine is this, plus what becomes of a run of items.

    Args:
        spec: Its takes-edge and its gives-edge have one tensor each.
        items_per_step: Items of a segment that one step turns into a chunk; the policy may ask for all of them.
    """

    def __init__(self, spec: StageSpec, *, items_per_step: int) -> None:
        self.spec = spec
        self.batch_limit = spec.slots
        self.gate = threading.Event()
        """Closed (cleared): a step takes until it is open, as on a busy device."""
        self.gate.set()
        self._items_per_step = items_per_step
        self._walks: dict[Session, _Walk] = {}

    @abstractmethod
    def made_per_item(self, session: Session) -> int:
        """How many items of the gives-edge one of the takes-edge becomes."""

    @abstractmethod
    def make(self, session: Session, items: Array, segment: int, start: int) -> Array:
        """What becomes of the items `start`.. of a segment."""

    def limit(self, session: Session) -> int | None:
        """The most items that may be made of a segment."""
        return None

    def open(self, session: Session) -> None:
        self._walks[session] = _Walk(session)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        each = self.made_per_item(session)
        if resume.next_index % each:
            raise InvalidRequestError(
                f"next_index is {resume.next_index}; multiples of {each} are allowed", field="open.resume.next_index"
            )
        # Text comes whole, whatever has been spoken of it.
        return 0 if self.spec.takes.kind is EdgeKind.TEXT else resume.next_index // each

    def push(self, session: Session, chunk: Chunk) -> None:
        edge = self.spec.takes
        items = chunk.tensors[edge.tensors[0].name]
        if items.size and not 0 <= int(items.min()) <= int(items.max()) < edge.vocabulary:
            raise InvalidRequestError(
                f"an id is not one of 0 to {edge.vocabulary - 1}", field="chunk.tensors", reason=Reason.TENSOR_INVALID
            )
        self._walks[session].queue.push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        walk = self._walks[session]
        if not walk.queue.cancel(segment):
            return None
        start = walk.next_item * self.made_per_item(session) if walk.segment == segment else 0
        walk.segment = None
        return self._chunk(segment, start, None, FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        walk = self._walks.get(session)
        if walk is None or walk.queue.current is None:
            return False
        current = walk.queue.current
        self._enter(walk, current, session)
        window = math.inf if session.policy.is_whole else self._items_per_step
        if current.has_ended or current.stop >= walk.next_item + window:
            return True
        # Borders never depend on when items come. What waits must not keep the caller from sending the rest.
        walk.queue.use(current.stop)
        return False

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        self.gate.wait(HELD_SECONDS)
        return [(session, self._walk(session, self._walks[session])) for session in sessions]

    def close(self, session: Session) -> None:
        self._walks.pop(session, None)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        raise InvalidRequestError("this stage has no voice steps", field="step", reason=Reason.OUT_OF_RANGE)

    def warm_up(self) -> None:
        """Nothing is slow the first time."""
        return

    def _enter(self, walk: _Walk, current: SegmentInput, session: Session) -> None:
        if walk.segment == current.segment:
            return
        walk.segment, walk.next_item = current.segment, 0
        resume, walk.resume = walk.resume, None
        if resume is not None and resume.segment == current.segment:
            walk.next_item = resume.next_index // self.made_per_item(session)

    def _walk(self, session: Session, walk: _Walk) -> Chunk:
        current = walk.queue.current
        assert current is not None
        self._enter(walk, current, session)
        each, start = self.made_per_item(session), walk.next_item
        stop = current.stop if session.policy.is_whole else min(current.stop, start + self._items_per_step)
        made, is_cut = self._made(session, current, start, stop)
        if is_cut or (current.has_ended and stop == current.stop):
            walk.queue.finish_current()
            walk.segment = None
            reason = FinishReason.MAX_CODES if is_cut else current.finish_reason or FinishReason.STOP
            return self._chunk(current.segment, start * each, made, reason)
        walk.next_item = stop
        walk.queue.use(stop)
        current.drop_before(stop)
        return self._chunk(current.segment, start * each, made, FinishReason.NONE)

    def _made(self, session: Session, current: SegmentInput, start: int, stop: int) -> tuple[Array | None, bool]:
        """What becomes of these items, and whether the limit cut it short."""
        if stop <= start:
            return None, False
        items = current.items(self.spec.takes.tensors[0].name, start, stop)
        made = self.make(session, items, current.segment, start)
        limit = self.limit(session)
        if limit is None:
            return made, False
        room = limit - start * self.made_per_item(session)
        return made[:room], len(made) > room or (len(made) == room and not (current.has_ended and stop == current.stop))

    def _chunk(self, segment: int, start: int, made: Array | None, reason: FinishReason) -> Chunk:
        spec = self.spec.gives.tensors[0]
        if made is None:
            made = np.zeros([max(size, 0) for size in spec.shape], spec.dtype)
        return Chunk(
            segment, start, {spec.name: made}, is_segment_end=reason is not FinishReason.NONE, finish_reason=reason
        )
