"""Speech for text that is still being written: text goes in while audio comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from protos.tts.v1 import synthesis_pb2
from triptych.audio import Audio, audio_from_proto
from triptych.errors import ErrorDetails, InvalidRequestError, translated
from triptych.writing import CallOverError, end_writing, write

Call = grpc.aio.StreamStreamCall[synthesis_pb2.StreamingSynthesizeRequest, synthesis_pb2.AudioChunk]


@dataclass(frozen=True)
class Flush:
    """Ends the sentence that is being collected, so that it is spoken now."""


@dataclass(frozen=True)
class CancelSegment:
    """Stops a segment: no more of its audio is sent."""

    segment: int


Piece = str | Flush | CancelSegment


class TextStream:
    """Iterates over audio while it sends the pieces of a text.

    `flush` and `cancel_segment` may be called at any time until the text ends. Leaving the
    `async with` block, or `aclose`, cancels what is left.
    """

    def __init__(self, pieces: AsyncIterable[Piece], start: Callable[[], Awaitable[Call]], address: str) -> None:
        self._pieces = pieces
        self._start = start
        self._address = address
        self._audio = self._receive()
        self._call: Call | None = None
        self._sender: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._is_ended = False

    async def flush(self) -> None:
        """End the sentence that is being collected."""
        await self._send_now(Flush())

    async def cancel_segment(self, segment: int) -> None:
        """Stop a segment of which the listener has heard enough."""
        await self._send_now(CancelSegment(segment))

    def __aiter__(self) -> AsyncIterator[Audio]:
        return self._audio

    async def aclose(self) -> None:
        self._is_ended = True
        if self._call is not None:
            self._call.cancel()
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._audio.aclose()
        await self.aclose()

    async def _begin(self) -> Call:
        async with self._beginning:
            if self._call is None:
                self._call = await self._start()
                self._sender = asyncio.create_task(self._send(self._call))
            return self._call

    async def _send_now(self, piece: Piece) -> None:
        call = await self._begin()
        if self._is_ended:
            raise InvalidRequestError("the text has ended; only the whole stream can be cancelled")
        try:
            await self._write(call, piece)
        except CallOverError:
            raise InvalidRequestError("the stream is over") from None

    async def _receive(self) -> AsyncGenerator[Audio, None]:
        try:
            call = await self._begin()
            with translated(self._address):
                async for chunk in call:
                    yield audio_from_proto(chunk)
        except asyncio.CancelledError:
            # Either the caller is cancelled, or its iterator failed and the sender hung up: then say why.
            sender = self._sender
            if sender and sender.done() and not sender.cancelled() and (error := sender.exception()):
                raise error from None
            raise
        finally:
            await self.aclose()

    async def _send(self, call: Call) -> None:
        try:
            async for piece in self._pieces:
                await self._write(call, piece)
            self._is_ended = True
            async with self._sending:
                await end_writing(call)
        except CallOverError:
            # Whoever reads the call learns why.
            return
        except Exception:
            call.cancel()
            raise

    async def _write(self, call: Call, piece: Piece) -> None:
        # A call takes one write at a time.
        async with self._sending:
            await write(call, _to_proto(piece))


def _to_proto(piece: Piece) -> synthesis_pb2.StreamingSynthesizeRequest:
    match piece:
        case Flush():
            return synthesis_pb2.StreamingSynthesizeRequest(flush=synthesis_pb2.Flush())
        case CancelSegment(segment):
            cancel = synthesis_pb2.CancelSegment(segment=segment)
            return synthesis_pb2.StreamingSynthesizeRequest(cancel_segment=cancel)
        case str():
            try:
                return synthesis_pb2.StreamingSynthesizeRequest(text=piece)
            except ValueError:
                raise unencodable() from None
    raise TypeError(f"a piece of text is a str, Flush or CancelSegment, not {type(piece).__name__}")


def unencodable() -> InvalidRequestError:
    message = "the text holds half a character (a lone surrogate)"
    return InvalidRequestError(message, ErrorDetails(field="text"))
