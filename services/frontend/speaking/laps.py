"""The stages' work on one utterance, whatever becomes of it: segments in, chunks of the last stage out.

Slots are held for a lap, a run of segments without a long pause in the text. A stream that waits for text,
or whose client is far behind, ends its lap and opens another one when it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.errors import DeadlineError, OverloadedError, TtsError
from services.frontend.request.public_paths import public_field
from services.frontend.speaking.lap import Lap, Work
from services.frontend.speaking.segment_queue import Segment
from services.frontend.text import TextWarning
from services.frontend.workers.admission import Admission
from services.frontend.workers.topology import Pipeline, Topology

RETRY_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class PipelineLimits:
    """Bounds of one utterance."""

    text_idle_seconds: float = 2.0
    """A stream that waits longer for text gives its slots back."""
    client_lead_seconds: float = 30.0
    """Audio that may wait for the client before the stages have to wait."""
    stage_lead_seconds: float = 8.0
    """How far the first stage may be ahead of the sound that the last one has given."""
    client_stall_seconds: float = 60.0
    """A client that takes nothing for so long while the stages wait is given up."""
    open_retry_seconds: float = 2.0
    """How long workers that refuse a stream are asked again."""
    chunk_window: int = 8
    """Chunks that may wait between two stages."""
    max_waiting_segments: int = 256


class Laps:
    """Runs an utterance through the stages. `add` and `cancel_segment` may be called while `run` runs.

    Args:
        work: The utterance's.
        topology: Knows the workers as they are now.
        admission: Gives the slots.
        limits: Bounds of one utterance.
        narrow: Picks the stages that are needed.
    """

    def __init__(
        self,
        work: Work,
        *,
        topology: Topology,
        admission: Admission,
        limits: PipelineLimits,
        narrow: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
    ) -> None:
        self.request = work.request
        self.timings = work.timings
        self.language = work.request.language
        """The language that was asked for or, when none was, the one that the text begins in."""
        self.num_characters = 0
        """Of the text that has come."""
        self.warnings: Sequence[TextWarning] = ()
        """Of text that is in no segment; complete when the text has ended."""
        self._work = work
        self._topology = topology
        self._admission = admission
        self._limits = limits
        self._narrow = narrow
        self._lap: Lap | None = None
        self._number = admission.new_number()
        self._had_slots = False

    async def add(self, segment: Segment) -> None:
        """Hand in the next segment, waiting while too many wait already."""
        self.language = self.language or segment.language
        self._work.output.begin(segment)
        await self._work.text.put(segment)

    def end_text(self) -> None:
        self._work.text.close()

    def cancel_segment(self, index: int) -> None:
        """Stop a segment everywhere; one that is out or unknown is left alone."""
        if not self._work.output.cancel(index):
            return
        self._work.cancelled.add(index)
        self._work.in_work.discard(index)
        self._work.text.remove(index)
        if self._lap is not None:
            self._lap.cancel_segment(index)

    async def run(self) -> None:
        """Have everything made; returns when the text has ended and all of it is in the output.

        Raises:
            TtsError: A stage or the deadline ended it; a field is the caller's own.
        """
        try:
            async with asyncio.timeout(self.request.time_left()):
                await self._run()
        except TimeoutError:
            raise DeadlineError("the deadline passed while the utterance was in work") from None
        except TtsError as error:
            error.field = public_field(error.field)
            raise

    async def _run(self) -> None:
        work = self._work
        while True:
            await work.wakeup.until(lambda: work.text.is_done or work.can_feed)
            if work.text.is_done:
                return
            await self._run_lap()

    async def _run_lap(self) -> None:
        """Get slots and use them; asks again for a while when another gateway was quicker at a worker."""
        clock = asyncio.get_running_loop().time
        give_up: float | None = None
        while len(self._work.text):
            asked = clock()
            try:
                lease = await self._admission.acquire(
                    self._pipeline, number=self._number, priority=self.request.priority, is_return=self._had_slots
                )
            finally:
                self.timings.add_queue(clock() - asked)
            self._had_slots = True
            try:
                if not len(self._work.text):
                    # Cancelled while it waited for its slots.
                    return
                self._lap = Lap(
                    self._work,
                    lease,
                    idle_seconds=self._limits.text_idle_seconds,
                    window=self._limits.chunk_window,
                    lead_seconds=self._limits.stage_lead_seconds,
                )
                await self._lap.run()
            except OverloadedError:
                # The clock starts here: waiting in the queue is nobody's refusal.
                give_up = give_up or clock() + self._limits.open_retry_seconds
                if self._lap is None or self._lap.is_open or clock() >= give_up:
                    raise
            else:
                return
            finally:
                self._lap = None
                lease.release()
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    def _pipeline(self) -> Pipeline:
        """The workers as they are now; another revision would make other speech."""
        pipeline = self.request.pipeline
        return self._narrow(self._topology.revision(pipeline.model, pipeline.revision))
