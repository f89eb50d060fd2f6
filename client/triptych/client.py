"""The library's door for ordinary programs: the calls of `AsyncClient`, waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from types import TracebackType
from typing import Self, Unpack

from triptych.analysis import Analysis
from triptych.async_client import AsyncClient
from triptych.audio import Speech
from triptych.background import Background
from triptych.blocking import AudioStream, TextStream, Voices, drawn_in_a_thread
from triptych.health import Health
from triptych.models import Model
from triptych.options import Options
from triptych.retries import Retry
from triptych.status import SystemStatus
from triptych.streams import AsyncAudioStream
from triptych.text_stream import Piece


class Client:
    """A connection to a server, for any thread; use it with ``with``, or `close` it.

    One that nobody holds any more is closed as well. Its event loop runs in a thread of its own, so that it
    works inside of another loop too, as in a notebook.

    Args:
        address: ``host:port``; by default `TRIPTYCH_ADDRESS`, or 127.0.0.1:50051.
        timeout: Seconds that a call may take, with its retries; calls that speak take their own.
        token: Sent with every call; by default what the file holds.
        token_file: A file that holds the token, read again when it has changed; by default `TRIPTYCH_TOKEN_FILE`.
        ca: PEM file of the authorities that may vouch for the server, which turns TLS on; by default `TRIPTYCH_CA`.
        retries: How often a call that is refused for now is made again. Nothing is once audio has come.
        max_retry_wait_seconds: All waits of one call together; a refusal that asks for more is raised.
        on_retry: Told of each wait, in the client's own thread; so is the logger ``triptych``.

    Raises:
        ConfigError: if a file cannot be used; the message names it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float | None = None,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        ca: str | PathLike[str] | None = None,
        retries: int = 3,
        max_retry_wait_seconds: float = 30.0,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        async def connect() -> AsyncClient:
            return AsyncClient(
                address,
                timeout=timeout,
                token=token,
                token_file=token_file,
                ca=ca,
                retries=retries,
                max_retry_wait_seconds=max_retry_wait_seconds,
                on_retry=on_retry,
            )

        self._background = Background()
        try:
            self._client = self._background.run(connect())
        except BaseException:
            self._background.stop()
            raise
        self._background.on_stop(self._client.close)
        self.voices = Voices(self._background, self._client.voices)

    @property
    def address(self) -> str:
        return self._client.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every call, in whatever thread it is waited for, and the connection."""
        self._background.stop()

    def synthesize(self, text: str, **options: Unpack[Options]) -> Speech:
        """Speak a short text and wait for all of it.

        Raises:
            TtsError: a subclass of it that says what went wrong.
        """
        return self._background.run(self._client.synthesize(text, **options))

    def synthesize_stream(self, text: str, **options: Unpack[Options]) -> AudioStream[AsyncAudioStream]:
        """Speak a text and return its audio while it is being made.

        Raises:
            TtsError: while it is iterated over; audio that came before stays good.
        """
        return AudioStream(self._background, self._client.synthesize_stream(text, **options))

    def stream_text(self, pieces: Iterable[Piece], **options: Unpack[Options]) -> TextStream:
        """Speak pieces of a text as they come; `Flush` and `CancelSegment` may be among them.

        Pieces are joined as they are, so a word may be cut in two. The speech ends when `pieces` does. They are taken
        in a thread of their own, each when the one before is sent, so that they may wait for more text.
        """
        return TextStream(self._background, self._client.stream_text(drawn_in_a_thread(pieces), **options))

    def analyze(self, text: str, *, with_codes: bool = False, **options: Unpack[Options]) -> Analysis:
        """Say what would be spoken, without speaking.

        Args:
            text: What to say.
            with_codes: Also makes the codes, which takes a slot and as long as they take.
            **options: As for speaking.
        """
        return self._background.run(self._client.analyze(text, with_codes=with_codes, **options))

    def models(self) -> tuple[Model, ...]:
        return self._background.run(self._client.models())

    def model(self, name: str = "") -> Model:
        """Return the model of this name, or the default one."""
        return self._background.run(self._client.model(name))

    def status(self) -> SystemStatus:
        """Ask how the gateway, the models, their stages and workers are."""
        return self._background.run(self._client.status())

    def health(self) -> Health:
        """Ask by grpc.health.v1 whether the gateway and every stage behind it serve; needs no token."""
        return self._background.run(self._client.health())
