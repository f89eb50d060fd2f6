"""Speech for text that is still being written: text goes in while audio comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from protos.tts.v1 import synthesis_pb2
from triptych.connection import Connection
from triptych.errors import ConfigError, ErrorDetails
from triptych.outbox import Outbox
from triptych.request import check_text
from triptych.streams import AsyncAudioStream, Exchange
from triptych.writing import CallOverError, end_writing, write

Request = synthesis_pb2.StreamingSynthesizeRequest
TextCall = grpc.aio.StreamStreamCall[Request, synthesis_pb2.AudioChunk]


@dataclass(frozen=True)
class Flush:
    """Ends the sentence that is being collected, so that it is spoken now."""


@dataclass(frozen=True)
class CancelSegment:
    """Stops a segment: no more of its audio is sent."""

    segment: int


Piece = str | Flush | CancelSegment


class TextExchange(Exchange[TextCall]):
    """Also sends the pieces of a text; those of a call that was refused are sent again."""

    def __init__(
        self,
        connection: Connection,
        open_call: Callable[[float | None], Awaitable[TextCall]],
        timeout_seconds: float | None,
        pieces: AsyncIterable[Piece],
    ) -> None:
        super().__init__(connection, open_call, timeout_seconds)
        self._pieces = pieces
        self._outbox: Outbox[Request] = Outbox()
        self._source: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    async def add(self, piece: Piece) -> None:
        if self.is_over or self._outbox.is_ended:
            message = "the text has ended; only the whole stream can be cancelled"
            raise ConfigError(message, ErrorDetails(reason="FIELD_CONFLICT"))
        await self._outbox.add(_message(piece))

    async def _begin(self, left_seconds: float | None) -> TextCall:
        call = await super()._begin(left_seconds)
        if self._source is None:
            self._source = asyncio.create_task(self._collect())
        self._sender = asyncio.create_task(self._send(call))
        return call

    def _on_audio(self) -> None:
        self._outbox.forget()

    async def _end_call(self) -> None:
        await super()._end_call()
        await _cancelled(self._sender)

    async def _finish(self) -> None:
        source = self._source
        if source and source.done() and not source.cancelled() and (error := source.exception()):
            # It ended the call, and is why the caller hears nothing more.
            raise error from None
        await _cancelled(source)

    async def _collect(self) -> None:
        """Take the pieces from their source, each when the one before is sent."""
        try:
            async for piece in self._pieces:
                await self._outbox.put(_message(piece))
            await self._outbox.end()
        except Exception:
            self.stop()
            raise

    async def _send(self, call: TextCall) -> None:
        try:
            async for message in self._outbox.messages():
                await write(call, message)
            await end_writing(call)
        except CallOverError:
            # Whoever reads the call learns why.
            return


class AsyncTextStream(AsyncAudioStream):
    """Iterates over audio while it sends the pieces of a text; also an ``async with`` block.

    `flush` and `cancel_segment` may be called at any time until the text ends. What the source of the pieces raises
    comes out of the iteration.
    """

    def __init__(self, exchange: TextExchange) -> None:
        super().__init__(exchange)
        self._text = exchange

    async def flush(self) -> None:
        """End the sentence that is being collected.

        Raises:
            ConfigError: if the text or the speech has ended.
        """
        await self._text.add(Flush())

    async def cancel_segment(self, segment: int) -> None:
        """Stop a segment of which the listener has heard enough.

        Raises:
            ConfigError: if the text or the speech has ended.
        """
        await self._text.add(CancelSegment(segment))


def _message(piece: Piece) -> Request:
    match piece:
        case Flush():
            return Request(flush=synthesis_pb2.Flush())
        case CancelSegment(segment):
            return Request(cancel_segment=synthesis_pb2.CancelSegment(segment=segment))
        case str():
            check_text(piece)
            return Request(text=piece)
    raise TypeError(f"a piece of text is a str, Flush or CancelSegment, not {type(piece).__name__}")


async def _cancelled(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
