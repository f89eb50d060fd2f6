"""Takes one speech from the server to its destinations, and tells how it went."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from triptych.async_client import AsyncClient
from triptych.audio import Audio, Utterance
from triptych.commands.connection import Server
from triptych.commands.destinations import (
    Delivery,
    Destination,
    Failure,
    FileDestination,
    PipeDestination,
    SoundCardDestination,
    Wishes,
)
from triptych.commands.emotion_voice import with_registered_emotion
from triptych.commands.output import PipeClosedError
from triptych.commands.sound_file import OutputError
from triptych.commands.text_input import pieces_of, pieces_of_stdin
from triptych.errors import TtsError
from triptych.options import Options
from triptych.playback import Device, PlaybackError, Player
from triptych.retries import Retry
from triptych.streams import AsyncAudioStream

_LONG_CHARACTERS = 200
"""From here on a text gets a progress bar."""
_SURE_CHARACTERS = 2000
"""So much fits into one message of any ordinary server: only longer texts are worth asking for its limit."""


class Speaker:
    """Speaks once; belongs to one event loop.

    Args:
        wishes: Where the speech goes.
        is_quiet: Says nothing.
        device: To play on; the default sound card if it is None.

    Raises:
        PlaybackError: if there is nothing to play on.
    """

    def __init__(self, wishes: Wishes, *, is_quiet: bool, device: Device | None = None) -> None:
        self._messages = Console(
            stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=is_quiet
        )
        self._player = Player(prebuffer_ms=wishes.prebuffer_ms, device=device) if wishes.is_played else None
        self._delivery = Delivery(self._destinations(wishes), self._on_failure)
        self._file = wishes.file
        self._tally = Tally()

    async def speak(self, server: Server, text: str | None, options: Options) -> None:
        """Speak `text`, or standard input as it comes if it is None; what has come stays whatever happens.

        Raises:
            TtsError: if the server fails.
            OutputError, PipeClosedError, PlaybackError: if a destination does.
        """
        try:
            async with server.client(on_retry=self._on_retry) as client:
                options = await with_registered_emotion(client, options, self._messages.print)
                await self._listen(client, text, options)
            await self._delivery.finish()
        except TtsError:
            # What has come is heard to its end.
            with suppress(OutputError, PipeClosedError, PlaybackError):
                await self._delivery.finish()
            raise
        except asyncio.CancelledError:
            self._messages.print(self._tally.interruption(self._file))
            raise
        finally:
            self._delivery.close()
        self._messages.print(self._tally.summary(self._file, self._player))

    async def _listen(self, client: AsyncClient, text: str | None, options: Options) -> None:
        with self._progress(text) as progress:
            async with aclosing(await _audio(client, text, options)) as stream:
                async for audio in stream:
                    self._tally.add(audio)
                    await self._delivery.write(audio)
                    self._warn_of(audio)
                    if progress:
                        _report(progress, audio)

    def _destinations(self, wishes: Wishes) -> list[Destination]:
        destinations: list[Destination] = []
        if wishes.file:
            destinations.append(FileDestination(wishes.file))
        if wishes.is_piped:
            destinations.append(PipeDestination())
        if self._player:
            destinations.append(SoundCardDestination(self._player))
        return destinations

    @contextmanager
    def _progress(self, text: str | None) -> Iterator[Progress | None]:
        is_long = text is None or len(text) >= _LONG_CHARACTERS
        if self._messages.quiet or not is_long or not self._messages.is_terminal:
            yield None
            return
        progress = Progress(
            TextColumn("speaking"),
            BarColumn(),
            TextColumn("{task.fields[seconds]:.1f} s of speech"),
            TimeElapsedColumn(),
            console=self._messages,
            transient=True,
        )
        progress.add_task("", total=len(text) if text else None, seconds=0.0)
        with progress:
            yield progress

    def _warn_of(self, audio: Audio) -> None:
        in_segments = (segment.warnings for segment in audio.segment_ends)
        for warning in itertools.chain(*in_segments, audio.warnings):
            self._messages.print(f"warning: at character {warning.text_span.start}: {warning.message}")
        for segment in audio.segment_ends:
            if segment.finish_reason == "max_codes":
                start, end = segment.text_span
                self._messages.print(
                    f"warning: the speech of characters {start} to {end} was cut at the model's limit of codes"
                )

    def _on_failure(self, failure: Failure) -> None:
        self._messages.print(f"warning: {str(failure) or 'the pipe was closed'}; the speech goes on elsewhere")

    def _on_retry(self, retry: Retry) -> None:
        self._messages.print(f"{retry.error.message}; trying again in {retry.wait_seconds:.1f} s")


class Tally:
    """How much has come, and when."""

    def __init__(self) -> None:
        self._started = monotonic()
        self._speech_seconds = 0.0
        self._first_audio_seconds = 0.0
        self._utterance: Utterance | None = None

    def add(self, audio: Audio) -> None:
        self._first_audio_seconds = self._first_audio_seconds or monotonic() - self._started
        self._speech_seconds += audio.duration_seconds
        self._utterance = audio.utterance or self._utterance

    def summary(self, file: object, player: Player | None) -> str:
        name = f"{file}: " if file else ""
        elapsed = monotonic() - self._started
        facts = [f"{self._speech_seconds:.2f} s of speech in {elapsed:.2f} s"]
        facts.append(f"first audio after {1000 * self._first_audio_seconds:.0f} ms")
        if self._utterance:
            facts += [f"seed {self._utterance.seed}", f"voice {self._utterance.voice_id[:12]}"]
        if player:
            facts.append(underruns_in_words(player.underruns, player.silent_seconds))
        return name + ", ".join(facts)

    def interruption(self, file: object) -> str:
        """Say what is there of a speech that the user has stopped."""
        if not self._speech_seconds:
            return "stopped before there was speech"
        stopped = f"stopped after {self._speech_seconds:.2f} s of speech"
        return f"{file}: {stopped}, which is kept" if file else stopped


def underruns_in_words(underruns: int, silent_seconds: float) -> str:
    if not underruns:
        return "no underruns"
    return f"{underruns} underrun{'s' if underruns > 1 else ''} ({silent_seconds:.2f} s of silence)"


def _report(progress: Progress, audio: Audio) -> None:
    progress.update(TaskID(0), seconds=audio.end_ms / 1000)
    if audio.segment_ends and progress.tasks[0].total:
        progress.update(TaskID(0), completed=audio.segment_ends[-1].text_span.end)


async def _audio(client: AsyncClient, text: str | None, options: Options) -> AsyncAudioStream:
    """Return the speech of a text in one message where the server takes that, since some policies need all of it."""
    if text is None:
        return client.stream_text(pieces_of_stdin(), **options)
    if len(text) > _SURE_CHARACTERS:
        model = await client.model(options.get("model") or "")
        if len(text) > model.limits.max_stream_characters:
            return client.stream_text(pieces_of(text), **options)
    return client.synthesize_stream(text, **options)
