"""One utterance through all stages at once: segments in, samples out, credit-driven in between.

Slots are held for a *lap*: a run of segments without a long pause in the text. A stream that waits for text,
or whose client is far behind, ends its lap and opens another one when it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.errors import DeadlineError, OverloadedError, StageFailedError, TtsError
from services.frontend.admission import Admission, Lease
from services.frontend.observing import Observer
from services.frontend.segment_queue import Segment, SegmentQueue
from services.frontend.speech import SpeechRequest, StageInputs
from services.frontend.speech_output import FinishReason, SpeechOutput, Spoken
from services.frontend.stage_run import StageRun
from services.frontend.timings import Timings
from services.frontend.topology import Topology
from services.frontend.wakeup import Wakeup, together

logger = structlog.get_logger(__name__)

OPEN_RETRY_PAUSE_SECONDS = 0.02


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
        rate = request.pipeline.sample_rate_hz
        self._topology = topology
        self._admission = admission
        self._limits = limits
        self._wakeup = Wakeup()
        self._text = SegmentQueue(self._wakeup, max_segments=limits.max_waiting_segments)
        self.output = SpeechOutput(
            self._wakeup,
            gap_samples=rate * request.gap_ms // 1000,
            lead_samples=int(rate * limits.client_lead_seconds),
            stall_seconds=limits.client_stall_seconds,
        )
        self._observer = Observer(request, timings)
        self._runs: tuple[StageRun, ...] = ()
        self._in_work: set[int] = set()
        self._cancelled: set[int] = set()
        self._cut_short: set[int] = set()
        self._number = admission.new_number()

    async def add(self, segment: Segment) -> None:
        """Hand in the next segment, waiting while too many wait already."""
        self.output.begin(segment)
        await self._text.put(segment)

    def end_text(self) -> None:
        self._text.close()

    def cancel_segment(self, index: int) -> None:
        """Stop a segment everywhere; one that is out or unknown is left alone."""
        if not self.output.cancel(index):
            return
        self._cancelled.add(index)
        self._in_work.discard(index)
        self._text.remove(index)
        for run in self._runs:
            run.cancel_segment(index)
        self._wakeup.notify()

    async def run(self) -> None:
        """Make all of the speech; returns when the text has ended and everything is in `output`."""
        try:
            async with asyncio.timeout(self.request.time_left()):
                while await self._has_work():
                    await self._lap()
        except TimeoutError:
            raise DeadlineError("the deadline passed while the utterance was in work") from None

    def _can_feed(self) -> bool:
        return bool(len(self._text)) and self.output.has_room

    async def _has_work(self) -> bool:
        await self._wakeup.until(lambda: self._text.is_done or self._can_feed())
        return not self._text.is_done

    async def _lap(self) -> None:
        async with AsyncExitStack() as stack:
            self._runs = await self._open_runs(stack, self._text.first().index)
            stack.callback(self._observer.lap_ended)
            pumps = [self._pump(giver, taker) for giver, taker in pairwise(self._runs)]
            await together(self._feed(self._runs[0]), *pumps, self._collect(self._runs[-1]))
            for run in self._runs:
                self._observer.run_done(run)
        self._runs = ()

    async def _open_runs(self, stack: AsyncExitStack, first_segment: int) -> tuple[StageRun, ...]:
        """Get a slot in every stage, asking again for a while when another gateway was quicker."""
        clock = asyncio.get_running_loop().time
        give_up = clock() + self._limits.open_retry_seconds
        while True:
            lease = await self._admission.acquire(
                self._resolve, number=self._number, priority=self.request.priority
            )
            async with AsyncExitStack() as attempt:
                attempt.callback(lease.release)
                try:
                    runs = await self._open_all(attempt, lease, first_segment)
                except OverloadedError:
                    if clock() >= give_up:
                        raise
                else:
                    await stack.enter_async_context(attempt.pop_all())
                    return runs
            await asyncio.sleep(OPEN_RETRY_PAUSE_SECONDS)

    async def _open_all(self, stack: AsyncExitStack, lease: Lease, first_segment: int) -> tuple[StageRun, ...]:
        runs = []
        for link in lease.links:
            assert link.about is not None
            run = StageRun(
                link,
                self.request.opening(link.about.stage, first_segment),
                self.request.inputs.get(link.about.stage, StageInputs()).voice,
                window=self._limits.chunk_window,
                metadata=self._observer.run_opening(link.about.stage),
                timeout_seconds=self.request.time_left(),
            )
            stack.push_async_callback(run.close)
            runs.append(run)

        async def open_run(run: StageRun, position: int) -> None:
            try:
                await run.open()
            except OverloadedError:
                lease.links[position].note_refusal()
                raise

        await together(*(open_run(run, position) for position, run in enumerate(runs)))
        return tuple(runs)

    def _resolve(self) -> Pipeline:
        """The pipeline as its workers are now; another revision would make other speech."""
        return self._topology.same_revision(self.request.pipeline)

    async def _feed(self, run: StageRun) -> None:
        while (segment := await self._next_segment()) is not None:
            await run.wait_credit()
            if segment.index not in self._cancelled:
                run.send(_text_chunk(segment, run.about.takes))
        run.end()

    async def _next_segment(self) -> Segment | None:
        """The next segment of this lap; None ends the lap."""

        def is_ready() -> bool:
            return self._text.is_done or self._can_feed()

        await self._wakeup.until(lambda: is_ready() or not self._in_work)
        try:
            async with asyncio.timeout(self._limits.text_idle_seconds):
                await self._wakeup.until(is_ready)
        except TimeoutError:
            logger.info("slots_given_back", utterance_id=self.request.utterance_id)
            return None
        if self._text.is_done:
            return None
        segment = self._text.pop()
        self._in_work.add(segment.index)
        return segment

    async def _pump(self, giver: StageRun, taker: StageRun) -> None:
        """Carry chunks from one stage to the next as they come."""
        names = {spec.name for spec in taker.about.takes.tensors}
        async for chunk in giver.chunks():
            self._note(giver, chunk)
            await taker.wait_credit()
            # Looked at after the wait: a stage that was told of the cancel takes no more of the segment.
            if chunk.segment not in self._cancelled:
                taker.send(_forward(chunk, names))
        taker.end()

    async def _collect(self, run: StageRun) -> None:
        async for chunk in run.chunks():
            self._note(run, chunk)
            if chunk.segment in self._cancelled:
                continue
            await self.output.put(chunk.segment, _pcm(chunk, run))
            if chunk.is_segment_end:
                self._in_work.discard(chunk.segment)
                self.output.finish(chunk.segment, self._finish_reason(chunk))

    def _note(self, run: StageRun, chunk: stage_pb2.Chunk) -> None:
        items = _num_items(chunk, run.about.gives)
        self._observer.chunk_received(run.stage, chunk, items)
        if chunk.finish_reason == stage_pb2.FINISH_REASON_MAX_CODES:
            self._cut_short.add(chunk.segment)
        if run.about.gives.kind == stage_pb2.EDGE_KIND_TOKENS:
            spoken = self.output.find(chunk.segment)
            if spoken is not None:
                spoken.codes += items

    def _finish_reason(self, chunk: stage_pb2.Chunk) -> FinishReason:
        if chunk.finish_reason == stage_pb2.FINISH_REASON_CANCELLED:
            return FinishReason.CANCELLED
        return FinishReason.MAX_CODES if chunk.segment in self._cut_short else FinishReason.STOP


async def speak(utterance: Utterance, *beside: Awaitable[None]) -> AsyncGenerator[Spoken, None]:
    """Yield an utterance's speech while it is made; leaving early cancels every stage at once.

    Args:
        utterance: What to speak.
        beside: Work that belongs to it, such as reading more text; its failure ends the speech.
    """
    work = asyncio.create_task(_work(utterance, beside))
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


async def _work(utterance: Utterance, beside: Sequence[Awaitable[None]]) -> None:
    try:
        await together(utterance.run(), *beside)
    except TtsError as error:
        utterance.output.close(error)
    except Exception as error:
        # Whatever it was, the client that waits for samples must hear of it.
        utterance.output.close(error)
        raise
    else:
        utterance.output.close()


def _text_chunk(segment: Segment, takes: stage_pb2.Edge) -> stage_pb2.Chunk:
    spec = takes.tensors[0]
    ids = np.asarray(segment.token_ids, dtype=spec.dtype)
    return stage_pb2.Chunk(segment=segment.index, tensors=tensors.to_proto({spec.name: ids}), is_segment_end=True)


def _forward(chunk: stage_pb2.Chunk, names: set[str]) -> stage_pb2.Chunk:
    """The chunk with only those tensors that the next stage takes."""
    if all(tensor.name in names for tensor in chunk.tensors):
        return chunk
    forwarded = stage_pb2.Chunk()
    forwarded.CopyFrom(chunk)
    del forwarded.tensors[:]
    forwarded.tensors.extend(tensor for tensor in chunk.tensors if tensor.name in names)
    return forwarded


def _num_items(chunk: stage_pb2.Chunk, edge: stage_pb2.Edge) -> int:
    """How many codes, frames or samples a chunk holds: the length that its edge leaves open."""
    for spec in edge.tensors:
        for tensor in chunk.tensors:
            if tensor.name == spec.name and -1 in spec.shape and len(tensor.shape) == len(spec.shape):
                return int(tensor.shape[list(spec.shape).index(-1)])
    return 0


def _pcm(chunk: stage_pb2.Chunk, run: StageRun) -> bytes:
    """The samples of a chunk of the last stage.

    Raises:
        StageFailedError: They are not 16-bit samples.
    """
    if not chunk.tensors:
        return b""
    samples = tensors.from_proto(chunk.tensors)[chunk.tensors[0].name]
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise StageFailedError(f"stage {run.stage!r} gave {samples.dtype} samples, not int16", stage=run.stage)
    return samples.tobytes()
