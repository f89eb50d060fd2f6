"""Audio of one call while it is being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from protos.tts.v1 import synthesis_pb2
from triptych.audio import Audio
from triptych.connection import Connection
from triptych.errors import TtsError, translated
from triptych.reply import ChunkReader

Call = (
    grpc.aio.StreamStreamCall[Any, synthesis_pb2.AudioChunk] | grpc.aio.UnaryStreamCall[Any, synthesis_pb2.AudioChunk]
)
AnyCall = TypeVar("AnyCall", bound=Call)


class Exchange(Generic[AnyCall]):
    """The calls of one stream: the first, and those after a refusal.

    It knows nothing of the stream that is iterated over, so that a stream which nobody holds any more is cleaned up
    at once.

    Args:
        connection: Where the calls go.
        open_call: Opens a call that may take so many seconds.
        timeout_seconds: For all of it.
    """

    def __init__(
        self,
        connection: Connection,
        open_call: Callable[[float | None], Awaitable[AnyCall]],
        timeout_seconds: float | None,
    ) -> None:
        self._connection = connection
        self._open_call = open_call
        self._timeout_seconds = timeout_seconds
        self._stopped = asyncio.Event()
        self._call: AnyCall | None = None

    @property
    def is_over(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """Cancel what is left."""
        self._stopped.set()
        if self._call is not None:
            self._call.cancel()

    async def receive(self) -> AsyncGenerator[Audio, None]:
        """Yield the audio.

        Raises:
            TtsError: a subclass of it that says what went wrong.
        """
        attempts = self._connection.attempts(self._timeout_seconds)
        reader = ChunkReader()
        try:
            while not self.is_over:
                try:
                    with translated(self._connection.address):
                        self._call = await self._begin(attempts.seconds_left())
                        if self.is_over:
                            # It was closed while the call was opened; `finally` cancels that.
                            break
                        async for chunk in self._call:
                            self._on_audio()
                            yield reader.read(chunk)
                    self.stop()
                except TtsError as error:
                    if reader.has_audio:
                        raise
                    await self._end_call()
                    await attempts.pause(error, self._stopped)
        except asyncio.CancelledError:
            if not self.is_over or _is_task_cancelled():
                raise
        finally:
            self.stop()
            await self._end_call()
            await self._finish()

    async def _begin(self, left_seconds: float | None) -> AnyCall:
        return await self._open_call(left_seconds)

    def _on_audio(self) -> None:
        """Audio has come: from here on the call is not made again."""

    async def _end_call(self) -> None:
        if self._call is not None:
            self._call.cancel()

    async def _finish(self) -> None:
        """No further call follows."""


class AsyncAudioStream:
    """Iterates over the audio of one speech; also an ``async with`` block.

    The call begins when the first audio is asked for. Leaving the block, `aclose`, or letting go of the stream
    cancels what is left.
    """

    def __init__(self, exchange: Exchange[Any]) -> None:
        self._exchange = exchange
        self._audio = exchange.receive()
        self._reading = asyncio.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Audio:
        """Return the next audio.

        Raises:
            TtsError: a subclass of it that says what went wrong; audio that came before stays good.
        """
        async with self._reading:
            return await anext(self._audio)

    async def aclose(self) -> None:
        """Cancel what is left; a reader that waits for it comes to the end."""
        self._exchange.stop()
        async with self._reading:
            await self._audio.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _is_task_cancelled() -> bool:
    """Whether the caller is cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
