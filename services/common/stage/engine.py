"""What a worker's engine must be able to do. Engines compute; they know neither gRPC nor the event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.common.arrays import Array, Tensors
from services.common.errors import TtsError
from services.common.stage.session import Chunk, ResumePoint, Session
from services.common.stage.spec import StageSpec

Output = tuple[Session, Chunk | TtsError]


class Engine(Protocol):
    """All methods but `encode_voice` are called from one thread, never two at a time."""

    spec: StageSpec

    batch_limit: int
    """The most sessions that one step should share: 1 where rows are computed one after another, so that a shared
    step would only make each of them wait for the others."""

    def open(self, session: Session) -> None:
        """Make room for a session.

        Raises:
            TtsError: The session asks for what the stage cannot do; only this session fails.
        """

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """Index of the first input item that a resumed stream must send; raises when it cannot resume there."""

    def push(self, session: Session, chunk: Chunk) -> None:
        """Take in a chunk that has been checked for order and shape."""

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        """Drop a segment and give the chunk that ends it, or None when it is not in work."""

    def is_ready(self, session: Session) -> bool:
        """Whether a step could do something for this session."""

    def step(self, sessions: Sequence[Session]) -> list[Output]:
        """Do one small step for each session; what it gives comes out when there is something, maybe steps later.

        Whoever waits for another stream waits for a step to end: a new one, a cancel, a deadline.

        Raises:
            OverloadedError: The device has no memory for this batch; all of its sessions are refused.
            Exception: Any other ends the process.
        """

    def close(self, session: Session) -> None:
        """Free all that the session holds; also called when it was never opened."""

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        """Compute one voice or option step of the spec; called from a thread of its own."""

    def warm_up(self) -> None:
        """Pass one utterance through the stage, so that the first caller does not pay for it."""
