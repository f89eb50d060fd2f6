"""Streams and voices of the blocking client: each call runs in the client's background loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from triptych.audio import Audio
from triptych.background import Background
from triptych.recording import RecordingLike
from triptych.streams import AsyncAudioStream
from triptych.text_stream import AsyncTextStream, Piece
from triptych.voices import AsyncVoices, Voice

AnyStream = TypeVar("AnyStream", bound=AsyncAudioStream)


class AudioStream(Generic[AnyStream]):
    """Iterates over the audio of one speech; also a ``with`` block.

    The call begins when the first audio is asked for. Leaving the block, `close`, or letting go of the stream cancels
    what is left.
    """

    def __init__(self, background: Background, stream: AnyStream) -> None:
        self._background = background
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Audio:
        """Return the next audio.

        Raises:
            TtsError: a subclass of it that says what went wrong; audio that came before stays good.
        """
        audio = self._background.run(_next(self._stream))
        if audio is None:
            raise StopIteration
        return audio

    def close(self) -> None:
        """Cancel what is left; a thread that waits for it comes to the end."""
        self._background.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class TextStream(AudioStream[AsyncTextStream]):
    """Iterates over audio while a thread of its own sends the pieces of a text; also a ``with`` block.

    `flush` and `cancel_segment` may be called from any thread until the text ends. What the source of the pieces
    raises comes out of the iteration.
    """

    def flush(self) -> None:
        """End the sentence that is being collected.

        Raises:
            ConfigError: if the text or the speech has ended.
        """
        self._background.run(self._stream.flush())

    def cancel_segment(self, segment: int) -> None:
        """Stop a segment of which the listener has heard enough.

        Raises:
            ConfigError: if the text or the speech has ended.
        """
        self._background.run(self._stream.cancel_segment(segment))


class Voices:
    """The server's voices; every method is that of `AsyncVoices`."""

    def __init__(self, background: Background, voices: AsyncVoices) -> None:
        self._background = background
        self._voices = voices

    def create(self, name: str, recording: RecordingLike, *, transcript: str = "", description: str = "") -> Voice:
        """Register a recording: the path or the bytes of a file, or a `Recording` of samples."""
        create = self._voices.create(name, recording, transcript=transcript, description=description)
        return self._background.run(create)

    def get(self, name: str) -> Voice:
        """Return the voice of this name or id."""
        return self._background.run(self._voices.get(name))

    def list(self) -> tuple[Voice, ...]:
        return self._background.run(self._voices.list())

    def of_recording(self, recording: RecordingLike) -> Voice:
        """Return the voice of a recording, whatever its name; one that has none is registered."""
        return self._background.run(self._voices.of_recording(recording))

    def update(
        self,
        name: str,
        *,
        new_name: str | None = None,
        transcript: str | None = None,
        description: str | None = None,
    ) -> Voice:
        """Change what is said of a voice, or its name; what is None stays."""
        update = self._voices.update(name, new_name=new_name, transcript=transcript, description=description)
        return self._background.run(update)

    def delete(self, name: str) -> None:
        """Remove the name; the recording goes with its last name."""
        self._background.run(self._voices.delete(name))

    def default(self) -> Voice:
        """Return the voice of requests that name none."""
        return self._background.run(self._voices.default())

    def set_default(self, name: str) -> Voice:
        """Make the voice of this name or id the one of requests that name none."""
        return self._background.run(self._voices.set_default(name))


async def _next(stream: AsyncAudioStream) -> Audio | None:
    # A future cannot carry the end of an iteration.
    return await anext(stream, None)


_END = object()


async def drawn_in_a_thread(pieces: Iterable[Piece]) -> AsyncIterator[Piece]:
    """Yield what an iterable gives, which may wait: a thread asks it for the next piece when that is wanted."""
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[asyncio.Future[Any] | None] = queue.SimpleQueue()
    # A daemon: an iterable that waits for input must not keep a program that ends.
    threading.Thread(target=_draw, args=(pieces, wanted, loop), name="triptych-text", daemon=True).start()
    try:
        while True:
            future = loop.create_future()
            wanted.put(future)
            piece = await future
            if piece is _END:
                return
            yield piece
    finally:
        wanted.put(None)


def _draw(
    pieces: Iterable[Piece],
    wanted: queue.SimpleQueue[asyncio.Future[Any] | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    iterator = None
    while future := wanted.get():
        settle: Callable[[Any], None] = future.set_result
        try:
            iterator = iter(pieces) if iterator is None else iterator
            value: Any = next(iterator, _END)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever reads the audio
            settle, value = future.set_exception, error
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, future, settle, value)


def _settle(future: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        settle(value)
