"""One Run stream: reads what the caller sends and writes what the engine makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, TtsError
from services.common.reasons import Reason
from services.common.stage import checks, convert
from services.common.stage.loop import StageLoop
from services.common.stage.session import InputOrder, Session
from services.common.stage.voice_cache import VoiceCache

logger = structlog.get_logger(__name__)

HALF_CLOSE_SECONDS = 5.0
"""How long a caller may take to half-close after Done."""

Requests = AsyncIterator[stage_pb2.RunRequest]


class Run:
    """The state of one Run call after its Open."""

    def __init__(self, loop: StageLoop, session: Session) -> None:
        self._loop = loop
        self._session = session
        self._spec = loop.engine.spec
        first_segment, first_start = None, 0
        if session.resume is not None:
            first_segment = session.resume.segment
            first_start = loop.engine.first_start(session.resume, session)
        self._order = InputOrder(self._spec.takes, first_segment, first_start)
        self._granted = 0
        self._received = 0
        self._unfinished: set[int] = set()
        self._has_end = False

    async def answers(self, requests: Requests) -> AsyncIterator[stage_pb2.RunResponse]:
        """Yield everything that follows Opened, up to Done."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while True:
                credit = self._credit_to_grant()
                if credit:
                    yield stage_pb2.RunResponse(credit=stage_pb2.Credit(chunks=credit))
                if self._has_end and not self._unfinished and self._session.outbox.empty():
                    break
                item = await self._session.outbox.get()
                if item is None:
                    continue
                if isinstance(item, TtsError):
                    raise item
                if item.is_segment_end:
                    self._unfinished.discard(item.segment)
                yield stage_pb2.RunResponse(chunk=convert.chunk_to_proto(item))
            yield stage_pb2.RunResponse(done=stage_pb2.Done(stats=convert.stats_to_proto(self._session.stats)))
            self._loop.close(self._session)
            # A call that ends while its caller still writes loses its status: let the caller end it.
            await asyncio.wait([reader], timeout=HALF_CLOSE_SECONDS)
        finally:
            reader.cancel()

    async def _read(self, requests: Requests) -> None:
        """Hand in messages until the caller half-closes; an error goes out through the outbox."""
        try:
            async for request in requests:
                self._take(request)
                self._session.outbox.put_nowait(None)
        except TtsError as error:
            self._session.outbox.put_nowait(error)
            return
        self._has_end = True
        self._session.outbox.put_nowait(None)

    def _take(self, request: stage_pb2.RunRequest) -> None:
        kind = request.WhichOneof("message")
        if self._has_end and kind == "chunk":
            raise InvalidRequestError("a chunk came after end", field="chunk")
        if kind == "chunk":
            self._take_chunk(request.chunk)
        elif kind == "credit":
            self._loop.add_credit(self._session, request.credit.chunks)
        elif kind == "cancel_segment":
            self._order.cancel(request.cancel_segment.segment)
            self._loop.cancel_segment(self._session, request.cancel_segment.segment)
        elif kind == "end":
            self._has_end = True
        elif kind is None:
            raise InvalidRequestError("a message holds nothing", field="message", reason=Reason.MESSAGE_EMPTY)
        else:
            reason = Reason.CONFIG_REPEATED if kind == "open" else Reason.FIELD_INVALID
            raise InvalidRequestError(f"message {kind!r} is not allowed after open", field="message", reason=reason)

    def _take_chunk(self, message: stage_pb2.Chunk) -> None:
        self._received += 1
        if self._received > self._granted:
            raise InvalidRequestError(
                f"{self._received} chunks were sent; credit for {self._granted} was given", field="chunk"
            )
        chunk = convert.chunk_from_proto(message)
        self._order.check(chunk)
        self._unfinished.add(chunk.segment)
        self._loop.push(self._session, chunk)

    def _credit_to_grant(self) -> int:
        """Refill the caller's credit when half of the window is free, so that credits are few messages."""
        window = self._spec.input_window_chunks
        room = window + self._session.used - self._granted
        if 2 * room < window:
            return 0
        self._granted += room
        return room


async def open_session(
    first: stage_pb2.RunRequest,
    requests: Requests,
    *,
    loop: StageLoop,
    voices: VoiceCache,
    time_left_seconds: float | None,
) -> AsyncIterator[Session | stage_pb2.NeedVoice]:
    """Turn Open, and Voice where it is needed, into a session that has its slot.

    Yields NeedVoice when the voice is not here, and last the session.
    """
    if first.WhichOneof("message") != "open":
        raise InvalidRequestError("the first message must be open", field="message", reason=Reason.CONFIG_MISSING)
    spec = loop.engine.spec
    session = convert.session_from_open(first.open, spec, time_left_seconds=time_left_seconds)
    voice_hash = first.open.voice_hash
    if spec.conditions:
        voice = voices.get(voice_hash)
        if voice is None:
            loop.refuse_if_full()
            yield stage_pb2.NeedVoice(voice_hash=voice_hash)
            voice = await _read_voice(requests, voice_hash)
            checks.check_voice(voice, spec)
            voices.put(voice_hash, voice)
        session.voice, session.voice_hash = voice, voice_hash
    loop.open(session)
    yield session


async def _read_voice(requests: Requests, voice_hash: str) -> Tensors:
    async for request in requests:
        if request.WhichOneof("message") != "voice":
            raise InvalidRequestError("need_voice must be answered by voice", field="message")
        voice = tensors.from_proto(request.voice.tensors)
        found = tensors.digest(voice)
        if found != voice_hash:
            raise checks.tensor_error(f"the voice's hash is {found}, not {voice_hash!r}", "voice")
        return voice
    raise InvalidRequestError("the stream ended before the voice came", field="voice")
