"""What the engine holds of one session: its row, its voice's prefix, and its segments, one of them in work."""

from __future__ import annotations

from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, Session
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.prefixes import Prefix
from services.gpt_worker.segment import SegmentDecode, end_without_codes


class SessionState:
    """A session between two steps.

    Args:
        session: Whose segments these are.
        row: Of the cache, the session's until it is closed.
        prefix: What its voice and emotion put before every text.
        options: How its codes are chosen.
    """

    def __init__(self, session: Session, row: int, prefix: Prefix, options: SamplingOptions) -> None:
        self.session = session
        self.row = row
        self.prefix = prefix
        self.options = options
        self.queue = SegmentQueue(session)
        self.decode: SegmentDecode | None = None
        """The segment in work once it has begun; a search has none."""

    @property
    def is_published(self) -> bool:
        """Whether a segment leaves whole, with the latents of a second pass."""
        return bool(self.session.params["compat"])

    @property
    def is_search(self) -> bool:
        """Whether a segment is a beam search, all of it one step."""
        return self.options.num_beams > 1

    @property
    def is_beginning(self) -> bool:
        """Whether the next step takes in a piece of a prefix, or is a whole search."""
        return self.is_search or self.decode is None or bool(self.decode.prefix)

    @property
    def running(self) -> SegmentDecode:
        """The segment in work, which has begun."""
        assert self.decode is not None
        return self.decode

    @property
    def segment(self) -> int:
        """Number of the segment in work, begun or not."""
        return self._text.segment

    @property
    def ids(self) -> list[int]:
        """Its text."""
        return [int(i) for i in self._text.items("ids", 0, self._text.stop)]

    def finish(self) -> None:
        """Go over to the next segment."""
        self.queue.finish_current()
        self.decode = None

    def cancel(self, segment: int, width: int) -> Chunk | None:
        """Drop a segment and give the chunk that ends it, or None when it is not here; `width` is D of the latents."""
        if not self.queue.cancel(segment):
            return None
        start = 0
        if self.decode is not None and self.decode.segment == segment:
            start, self.decode = self.decode.next_start, None
        return end_without_codes(segment, start, FinishReason.CANCELLED, width)

    @property
    def _text(self) -> SegmentInput:
        assert self.queue.current is not None
        return self.queue.current
