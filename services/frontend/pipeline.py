"""One utterance through all stages at once: segments in, samples out.

Slots are held for a lap, a run of segments without a long pause in the text. A stream that waits for text,
or whose client is far behind, ends its lap and opens another one when it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.common.errors import DeadlineError, OverloadedError
from services.frontend.admission import Admission
from services.frontend.lap import Lap, Work
from services.frontend.segment_queue import Segment, SegmentQueue
from services.frontend.speech import SpeechRequest
from services.frontend.speech_output import SpeechOutput, Spoken
from services.frontend.timings import Timings
from services.frontend.topology import Pipeline, Topology
from services.frontend.wakeup import Wakeup, together

RETRY_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class PipelineLimits:
    """Bounds of one utterance."""

    text_idle_seconds: float = 2.0
    """A stream that waits longer for text gives its slots back."""
    client_lead_seconds: float = 30.0
    """Audio that may wait for the client before the stages have to wait."""
    client_stall_seconds: float = 60.0
    """A client that takes nothing for so long while the stages wait is given up."""
    open_retry_seconds: float = 2.0
    """How long workers that refuse a stream are asked again."""
    chunk_window: int = 8
    """Chunks that may wait between two stages."""
    max_waiting_segments: int = 256


class Utterance:
    """Speaks one request. `add` and `cancel_segment` may be called while `run` runs."""

    def __init__(
        self,
        request: SpeechRequest,
        *,
        topology: Topology,
        admission: Admission,
        limits: PipelineLimits,
        timings: Timings,
    ) -> None:
        self.request = request
        self.timings = timings
        self._topology = topology
        self._admission = admission
        self._limits = limits
        rate, wakeup = request.pipeline.sample_rate_hz, Wakeup()
        self.output = SpeechOutput(
            wakeup,
            gap_samples=rate * request.gap_ms // 1000,
            lead_samples=int(rate * limits.client_lead_seconds),
            stall_seconds=limits.client_stall_seconds,
        )
        text = SegmentQueue(wakeup, max_segments=limits.max_waiting_segments)
        self._work = Work(request, text, self.output, timings, wakeup)
        self._lap: Lap | None = None
        self._number = admission.new_number()
        self._had_slots = False

    async def add(self, segment: Segment) -> None:
        """Hand in the next segment, waiting while too many wait already."""
        self.output.begin(segment)
        await self._work.text.put(segment)

    def end_text(self) -> None:
        self._work.text.close()

    def cancel_segment(self, index: int) -> None:
        """Stop a segment everywhere; one that is out or unknown is left alone."""
        if not self.output.cancel(index):
            return
        self._work.cancelled.add(index)
        self._work.in_work.discard(index)
        self._work.text.remove(index)
        if self._lap is not None:
            self._lap.cancel_segment(index)

    async def run(self) -> None:
        """Make all of the speech; returns when the text has ended and everything is in `output`."""
        work = self._work
        try:
            async with asyncio.timeout(self.request.time_left()):
                while True:
                    await work.wakeup.until(lambda: work.text.is_done or work.can_feed)
                    if work.text.is_done:
                        return
                    await self._run_lap()
        except TimeoutError:
            raise DeadlineError("the deadline passed while the utterance was in work") from None

    async def _run_lap(self) -> None:
        """Get slots and use them; asks again for a while when another gateway was quicker at a worker."""
        clock = asyncio.get_running_loop().time
        give_up: float | None = None
        while len(self._work.text):
            lease = await self._admission.acquire(
                self._pipeline, number=self._number, priority=self.request.priority, is_return=self._had_slots
            )
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
        return self._topology.revision(pipeline.model, pipeline.revision)


async def speak(utterance: Utterance, *beside: Callable[[], Awaitable[None]]) -> AsyncGenerator[Spoken, None]:
    """Yield an utterance's speech while it is made; leaving early cancels every stage at once.

    Args:
        utterance: What to speak.
        beside: Work that belongs to it, such as reading more text; its failure ends the speech.
    """
    work = asyncio.create_task(_make(utterance, beside))
    try:
        while (spoken := await utterance.output.take()) is not None:
            if spoken.pcm:
                utterance.timings.note_audio()
            yield spoken
        utterance.timings.finish()
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def _make(utterance: Utterance, beside: Sequence[Callable[[], Awaitable[None]]]) -> None:
    failure: Exception | None = None
    try:
        await together(utterance.run(), *(work() for work in beside))
    except Exception as error:  # noqa: BLE001 - whoever waits for samples must hear of it; the interceptor logs it
        failure = error
    utterance.output.close(failure)
