"""One lap: a slot in every stage, held while segments are in work, with chunks pumped from stage to stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import metrics, traces
from services.common.errors import OverloadedError
from services.frontend.request.speech_request import SpeechRequest, StageInputs
from services.frontend.speaking import chunks
from services.frontend.speaking.segment_queue import Segment, SegmentQueue
from services.frontend.speaking.speech_output import FinishReason
from services.frontend.speaking.stage_lead import edge_seconds, lead_of, pace_of
from services.frontend.speaking.timings import Timings
from services.frontend.wakeup import Wakeup, together
from services.frontend.workers.admission import Lease
from services.frontend.workers.stage_run import StageRun

logger = structlog.get_logger(__name__)


class MadeSegment(Protocol):
    codes: int


class Output(Protocol):
    """Where what the last stage makes is kept in the order of the segments."""

    @property
    def has_room(self) -> bool:
        """Whether the caller is not too far behind for more."""

    def begin(self, segment: Segment) -> None: ...

    def find(self, index: int) -> MadeSegment | None: ...

    def finish(self, index: int, reason: FinishReason) -> None: ...

    def cancel(self, index: int) -> bool: ...


@dataclass(eq=False)
class Work:
    """What all laps of one utterance share."""

    request: SpeechRequest
    text: SegmentQueue
    output: Output
    deliver: Callable[[stage_pb2.Chunk, stage_pb2.DescribeResponse], Awaitable[None]]
    """Puts a chunk of the last stage, whose description goes with it, into the output."""
    timings: Timings
    wakeup: Wakeup
    cancelled: set[int] = field(default_factory=set)
    in_work: set[int] = field(default_factory=set)
    """Segments that were handed to the first stage and have not left the last one."""

    @property
    def can_feed(self) -> bool:
        """Whether there is a segment, and the client is not too far behind for another one."""
        return len(self.text) > 0 and self.output.has_room


class Lap:
    """Runs until the text ends or pauses and every segment it took is finished.

    Args:
        work: The utterance's.
        lease: Slots in all stages; the caller releases them.
        idle_seconds: A longer pause in the text ends the lap.
        window: Chunks that may wait between two stages.
        lead_seconds: How far the first stage may be ahead of the sound.
    """

    def __init__(self, work: Work, lease: Lease, *, idle_seconds: float, window: int, lead_seconds: float) -> None:
        self._work = work
        self._lease = lease
        self._idle_seconds = idle_seconds
        self._window = window
        self._first_segment = work.text.first().index
        self._runs: dict[int, StageRun] = {}
        self._num_open = 0
        abouts = [link.about for link in lease.links if link.about is not None]
        self._lead = lead_of(work.request, abouts, lead_seconds)
        self._pace = pace_of(work.request)
        self._cut_short: set[int] = set()

    @property
    def is_open(self) -> bool:
        """Whether every stage has begun."""
        return self._num_open == len(self._lease.links)

    async def run(self) -> None:
        await together(self._feed(), *(self._stage(position) for position in range(len(self._lease.links))))

    def cancel_segment(self, index: int) -> None:
        for run in self._runs.values():
            run.cancel_segment(index)
        self._drop_lead(index)

    async def _feed(self) -> None:
        await self._all_open()
        run = self._runs[0]
        while (segment := await self._next_segment()) is not None:
            await run.wait_credit()
            if segment.index not in self._work.cancelled:
                run.send(chunks.from_segment(segment, run.about.takes))
        run.end()

    async def _next_segment(self) -> Segment | None:
        """The next segment of this lap; None ends the lap."""
        work = self._work

        def is_ready() -> bool:
            return work.text.is_done or work.can_feed

        await work.wakeup.until(lambda: is_ready() or not work.in_work)
        try:
            async with asyncio.timeout(self._idle_seconds):
                await work.wakeup.until(is_ready)
        except TimeoutError:
            logger.info("slots_given_back", idle_seconds=self._idle_seconds)
            return None
        if work.text.is_done:
            return None
        segment = work.text.pop()
        work.in_work.add(segment.index)
        return segment

    async def _stage(self, position: int) -> None:
        """Be one stage's client: open its run, then carry what it makes to the next stage or to the output."""
        async with self._open_run(position) as run:
            self._num_open += 1
            self._work.wakeup.notify()
            await self._all_open()
            num_chunks = 0
            async for chunk in run.chunks():
                self._note(run, chunk, num_chunks)
                num_chunks += 1
                self._note_lead(position, run, chunk)
                await self._carry(position, chunk)
            if position + 1 in self._runs:
                self._runs[position + 1].end()
            self._work.timings.add_compute(run.stage, run.stats.compute_ms)

    @asynccontextmanager
    async def _open_run(self, position: int) -> AsyncIterator[StageRun]:
        link, request = self._lease.links[position], self._work.request
        assert link.about is not None
        stage = link.about.stage
        started = time.monotonic()
        with traces.stage_span(stage, worker=link.about.worker, first_segment=self._first_segment):
            run = StageRun(
                link,
                request.opening(stage),
                request.inputs.get(stage, StageInputs()).voice,
                window=self._window,
                metadata=(*traces.inject(), *request.metadata()),
                timeout_seconds=request.time_left(),
            )
            try:
                await run.open()
                self._runs[position] = run
                yield run
            except OverloadedError:
                link.note_refusal()
                raise
            finally:
                await run.close()
                latency_ms = round(1000 * (time.monotonic() - started), 1)
                logger.info("stage_left", stage=stage, worker=run.worker, latency_ms=latency_ms)

    async def _all_open(self) -> None:
        await self._work.wakeup.until(lambda: self.is_open)

    async def _carry(self, position: int, chunk: stage_pb2.Chunk) -> None:
        taker = self._runs.get(position + 1)
        if taker is None:
            await self._deliver(self._runs[position], chunk)
            return
        await taker.wait_credit()
        # Looked at after the wait: a stage that was told of the cancel takes no more of the segment.
        if chunk.segment not in self._work.cancelled:
            taker.send(chunks.forwarded(chunk, taker.about.takes))

    async def _deliver(self, run: StageRun, chunk: stage_pb2.Chunk) -> None:
        if chunk.segment in self._work.cancelled:
            return
        await self._work.deliver(chunk, run.about)
        if chunk.is_segment_end:
            self._drop_lead(chunk.segment)
            self._work.in_work.discard(chunk.segment)
            self._work.output.finish(chunk.segment, self._finish_reason(chunk))

    def _note(self, run: StageRun, chunk: stage_pb2.Chunk, index: int) -> None:
        self._work.timings.note_output(run.stage)
        num_items = chunks.num_items(chunk, run.about.gives)
        traces.chunk_event(index, segment=chunk.segment, items=num_items)
        metrics.CHUNKS.labels(run.stage).inc()
        logger.debug("chunk", stage=run.stage, segment=chunk.segment, chunk_index=index, items=num_items)
        if chunk.finish_reason == stage_pb2.FINISH_REASON_MAX_CODES:
            self._cut_short.add(chunk.segment)
        if run.about.gives.kind == stage_pb2.EDGE_KIND_TOKENS:
            self._note_codes(chunk.segment, num_items)

    def _note_codes(self, segment: int, num_codes: int) -> None:
        if num_codes:
            self._work.timings.note_token()
        made = self._work.output.find(segment)
        if made is not None:
            made.codes += num_codes

    def _note_lead(self, position: int, run: StageRun, chunk: stage_pb2.Chunk) -> None:
        """Have the first stage wait while it is too far ahead of the last one, by the credit that it gets."""
        if self._lead is None or chunk.segment in self._work.cancelled:
            return
        seconds = edge_seconds(run.about.gives, chunks.num_items(chunk, run.about.gives))
        if position == 0:
            self._lead.note_given(chunk.segment, self._pace * seconds, is_end=chunk.is_segment_end)
        elif position == len(self._lease.links) - 1:
            self._lead.note_sound(chunk.segment, seconds)
        self._runs[0].hold(self._lead.is_reached)

    def _drop_lead(self, segment: int) -> None:
        if self._lead is not None and 0 in self._runs:
            self._lead.drop(segment)
            self._runs[0].hold(self._lead.is_reached)

    def _finish_reason(self, chunk: stage_pb2.Chunk) -> FinishReason:
        if chunk.finish_reason == stage_pb2.FINISH_REASON_CANCELLED:
            return FinishReason.CANCELLED
        return FinishReason.MAX_CODES if chunk.segment in self._cut_short else FinishReason.STOP
