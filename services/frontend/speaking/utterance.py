"""One utterance through all stages at once: segments in, samples out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from protos.tts.stages.v1 import stage_pb2
from services.frontend.audio.fade import fade_samples
from services.frontend.request.speech_request import SpeechRequest
from services.frontend.speaking import chunks
from services.frontend.speaking.first_audio import FirstAudioLimit
from services.frontend.speaking.lap import Work
from services.frontend.speaking.laps import Laps, PipelineLimits
from services.frontend.speaking.segment_queue import Segment, SegmentQueue
from services.frontend.speaking.speech_output import SpeechOutput, Spoken
from services.frontend.speaking.timings import Timings
from services.frontend.wakeup import Wakeup, together
from services.frontend.workers.admission import Admission
from services.frontend.workers.topology import Topology

__all__ = ["PipelineLimits", "Utterance", "speak"]


class Utterance(Laps):
    """Speaks one request; its samples, at the model's own rate, are in `output`."""

    def __init__(
        self,
        request: SpeechRequest,
        *,
        topology: Topology,
        admission: Admission,
        limits: PipelineLimits,
        timings: Timings,
    ) -> None:
        rate, audio, wakeup = request.pipeline.sample_rate_hz, request.audio, Wakeup()
        self.output = SpeechOutput(
            wakeup,
            gap_samples=rate * audio.gap_ms // 1000,
            lead_samples=int(rate * limits.client_lead_seconds),
            tail_samples=rate * audio.tail_ms // 1000,
            fade_samples=fade_samples(rate),
            stall_seconds=limits.client_stall_seconds,
        )
        self.first_audio = FirstAudioLimit(timings, request.max_first_audio_ms)
        text = SegmentQueue(wakeup, max_segments=limits.max_waiting_segments)
        work = Work(request, text, self.output, self._deliver, timings, wakeup)
        super().__init__(work, topology=topology, admission=admission, limits=limits)

    async def add(self, segment: Segment) -> None:
        self.first_audio.resume()
        await super().add(segment)

    def note_audio(self) -> None:
        """Audio goes out to the caller now.

        Raises:
            DeadlineError: The limit of the first audio has passed.
        """
        self.first_audio.met()
        self.timings.note_audio()

    async def _deliver(self, chunk: stage_pb2.Chunk, about: stage_pb2.DescribeResponse) -> None:
        await self.output.put(chunk.segment, chunks.pcm(chunk, about.stage))


async def speak(utterance: Utterance, *beside: Callable[[], Awaitable[None]]) -> AsyncGenerator[Spoken, None]:
    """Yield an utterance's speech while it is made; leaving early cancels every stage at once.

    Args:
        utterance: What to speak.
        beside: Work that belongs to it, such as reading more text; its failure ends the speech.
    """
    work = asyncio.create_task(_make(utterance, beside))
    try:
        while (spoken := await utterance.output.take()) is not None:
            yield spoken
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def _make(utterance: Utterance, beside: Sequence[Callable[[], Awaitable[None]]]) -> None:
    failure: Exception | None = None
    try:
        async with utterance.first_audio.watching():
            await together(utterance.run(), *(work() for work in beside))
    except Exception as error:  # noqa: BLE001 - whoever waits for samples must hear of it; the interceptor logs it
        failure = error
    utterance.output.close(failure)
