"""The gateway's side of one `Run` stream: one utterance in one stage."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import grpc

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import StageFailedError, StageLostError, TtsError
from services.common.grpc_errors import from_rpc_error
from services.frontend.wakeup import Wakeup
from services.frontend.workers.call_writing import write_all
from services.frontend.workers.link import WorkerLink


@dataclass(frozen=True)
class StageVoice:
    """What one stage needs to know of a voice."""

    digest: str = ""
    tensors: Sequence[stage_pb2.Tensor] = field(default_factory=tuple)


class StageRun:
    """Sends and receives chunks under the worker's and its own credit.

    A task of its own reads the worker's answers, so that credit for what is sent is seen even while
    nobody takes what was received. What is sent is queued, never more of it than there is credit for.

    Args:
        link: The worker; its slot has been leased.
        opening: The first message.
        voice: Sent when the worker asks for it.
        window: How many received chunks may wait to be taken.
        metadata: Goes with the call: trace context and ids.
    """

    def __init__(
        self,
        link: WorkerLink,
        opening: stage_pb2.Open,
        voice: StageVoice,
        *,
        window: int = 8,
        metadata: Sequence[tuple[str, str]] = (),
        timeout_seconds: float | None = None,
    ) -> None:
        assert link.about is not None
        self.stage = link.about.stage
        self.about = link.about
        self.worker = link.about.worker
        self.stats = stage_pb2.RunStats()
        self._opening = opening
        self._voice = voice
        self._window = window
        self._outgoing: asyncio.Queue[stage_pb2.RunRequest | None] = asyncio.Queue()
        self._received: deque[stage_pb2.Chunk] = deque()
        self._is_held = False
        self._owed = 0
        self._credit = 0
        self._has_done = False
        self._is_done = False
        self._failure: TtsError | None = None
        self._wakeup = Wakeup()
        self._reader: asyncio.Task[None] | None = None
        self._call = link.stub.Run(timeout=timeout_seconds, metadata=tuple(metadata))
        self._writer = asyncio.create_task(write_all(self._call, self._outgoing))

    async def open(self) -> None:
        """Get the worker to begin.

        Raises:
            OverloadedError: The worker has no slot.
            TtsError: It refuses for another reason, or is gone.
        """
        self._send(stage_pb2.RunRequest(open=self._opening))
        answer = await self._read()
        if answer is not None and answer.WhichOneof("message") == "need_voice":
            self._send(stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=self._voice.tensors)))
            answer = await self._read()
        if answer is None or answer.WhichOneof("message") != "opened":
            raise StageFailedError(f"stage {self.stage!r} did not answer open with opened", stage=self.stage)
        self._grant(self._window)
        self._reader = asyncio.create_task(self._read_all())

    async def wait_credit(self) -> None:
        """Wait until one more chunk may be sent."""
        await self._wakeup.until(lambda: self._credit > 0 or self._failure is not None or self._is_done)
        self._check()

    def send(self, chunk: stage_pb2.Chunk) -> None:
        """Send a chunk; `wait_credit` must have returned just before."""
        self._credit -= 1
        self._send(stage_pb2.RunRequest(chunk=chunk))

    def cancel_segment(self, segment: int) -> None:
        self._send(stage_pb2.RunRequest(cancel_segment=stage_pb2.CancelSegment(segment=segment)))

    def end(self) -> None:
        """No chunk follows."""
        self._send(stage_pb2.RunRequest(end=stage_pb2.End()))

    async def chunks(self) -> AsyncIterator[stage_pb2.Chunk]:
        """Yield what the stage makes, until it is done; taking a chunk lets the worker send another."""
        while True:
            await self._wakeup.until(lambda: bool(self._received) or self._is_done or self._failure is not None)
            if self._received:
                yield self._received.popleft()
                self._owed += 1
                self._pay()
            elif self._is_done:
                return
            else:
                self._check()

    def hold(self, is_held: bool) -> None:
        """Withhold the credit for chunks that are taken from now on, or give what was withheld."""
        self._is_held = is_held
        self._pay()

    async def close(self) -> None:
        """Leave at once; before Done this cancels the call, which frees the worker's slot."""
        self._outgoing.put_nowait(None)
        if not self._is_done:
            self._call.cancel()
        tasks = [task for task in (self._reader, self._writer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send(self, request: stage_pb2.RunRequest) -> None:
        if not self._has_done:
            self._outgoing.put_nowait(request)

    def _pay(self) -> None:
        if self._owed and not self._is_held:
            self._grant(self._owed)
            self._owed = 0

    def _grant(self, chunks: int) -> None:
        self._send(stage_pb2.RunRequest(credit=stage_pb2.Credit(chunks=chunks)))

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _read(self) -> stage_pb2.RunResponse | None:
        """Read one answer; None at the end of the stream."""
        try:
            answer = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.stage) from error
        return answer if isinstance(answer, stage_pb2.RunResponse) else None

    async def _read_all(self) -> None:
        try:
            while (answer := await self._read()) is not None:
                self._take(answer)
                self._wakeup.notify()
            if not self._has_done:
                raise StageLostError(f"stage {self.stage!r} ended before it was done", stage=self.stage)
        except TtsError as error:
            self._failure = None if self._has_done else error
        # Done is believed at the end of the call only: by then the worker has its slot back.
        self._is_done = self._has_done
        self._wakeup.notify()

    def _take(self, answer: stage_pb2.RunResponse) -> None:
        kind = answer.WhichOneof("message")
        if kind == "chunk":
            self._received.append(answer.chunk)
        elif kind == "credit":
            self._credit += answer.credit.chunks
        elif kind == "done":
            self.stats = answer.done.stats
            self._has_done = True
            self._outgoing.put_nowait(None)
        else:
            raise StageFailedError(f"stage {self.stage!r} sent {kind!r} after opened", stage=self.stage)
