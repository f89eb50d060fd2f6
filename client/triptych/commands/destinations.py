"""Where speech goes: a file, a pipe, the sound card, or several of them at once."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click

from triptych.audio import Audio
from triptych.commands.output import PipeClosedError, closing_pipe
from triptych.commands.sound_file import RAW_SUFFIX, WAV_SUFFIX, OutputError, SoundFile
from triptych.playback import PlaybackError, Player

_SUFFIXES = (WAV_SUFFIX, RAW_SUFFIX, "")

Failure = OutputError | PipeClosedError | PlaybackError


class Destination(Protocol):
    """Takes the audio of one speech, in order."""

    async def write(self, audio: Audio, encoding: str) -> None:
        """Take the next audio; returns when there is room for more. Raises a `Failure`."""

    async def finish(self) -> None:
        """Wait until all of it is out. Raises a `Failure`."""

    def close(self) -> None:
        """Leave what is out in good order, and the rest."""


@dataclass(frozen=True)
class Wishes:
    """Where the user wants the speech."""

    file: Path | None
    is_played: bool
    is_piped: bool
    prebuffer_ms: int

    def check(self) -> None:
        """Refuse before anything is asked of the server.

        Raises:
            click.UsageError: if nothing would come of the speech.
        """
        if not (self.file or self.is_played or self.is_piped):
            raise click.UsageError("say where the speech goes: --output FILE, --play or --stdout")
        if self.is_piped and sys.stdout.isatty():
            raise click.UsageError("--stdout writes raw audio, which is not for a terminal: pipe it somewhere")
        if self.file and self.file.suffix.lower() not in _SUFFIXES:
            raise click.UsageError(
                f"--output ends in {WAV_SUFFIX} or {RAW_SUFFIX}, or has no suffix, which is a WAV file"
            )
        if self.file and not self.file.parent.is_dir():
            raise click.UsageError(f"there is no folder {self.file.parent}")
        if self.file and self.file.exists() and not self.file.is_file():
            raise click.UsageError(f"{self.file} is not a file that sound can be written to")


class Delivery:
    """Hands audio to every destination.

    One that fails is left out, so that the others get all of the speech; `finish` tells of the first failure.

    Args:
        destinations: The one that loses nothing comes first.
        on_failure: Told of a failure after which others go on.
    """

    def __init__(self, destinations: Sequence[Destination], on_failure: Callable[[Failure], None]) -> None:
        self._left = list(destinations)
        self._on_failure = on_failure
        self._failure: Failure | None = None
        self._encoding = ""

    async def write(self, audio: Audio) -> None:
        """Raise the failure of the last destination that was left."""
        if audio.utterance:
            self._encoding = audio.utterance.encoding
        if not audio.data:
            return
        for destination in tuple(self._left):
            try:
                await destination.write(audio, self._encoding)
            except (OutputError, PipeClosedError, PlaybackError) as failure:
                self._leave_out(destination, failure)

    async def finish(self) -> None:
        """Wait until all of it is out everywhere; raise what the first failure was."""
        for destination in tuple(self._left):
            try:
                await destination.finish()
            except (OutputError, PipeClosedError, PlaybackError) as failure:
                self._failure = self._failure or failure
        if self._failure:
            raise self._failure

    def close(self) -> None:
        for destination in self._left:
            destination.close()

    def _leave_out(self, destination: Destination, failure: Failure) -> None:
        self._failure = self._failure or failure
        self._left.remove(destination)
        destination.close()
        if not self._left:
            raise self._failure
        self._on_failure(failure)


class FileDestination:
    """Writes a WAV file, or the bytes as they come if it is called ``.raw``."""

    def __init__(self, path: Path) -> None:
        self._file = SoundFile(path)

    async def write(self, audio: Audio, encoding: str) -> None:
        # A chunk is small: the disk is faster than a thread would be.
        self._file.write(audio.data, encoding, audio.sample_rate_hz)

    async def finish(self) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()


class PipeDestination:
    """Writes the bytes as they come to standard output."""

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()

    async def write(self, audio: Audio, encoding: str) -> None:
        await _in_daemon(lambda: self._write_all(audio.data))

    async def finish(self) -> None:
        return

    def close(self) -> None:
        return

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            with closing_pipe():
                while rest:
                    # Not through Python's buffer: its lock is wanted at exit, when this may still wait for a reader.
                    rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror}") from None


class SoundCardDestination:
    """Plays on the sound card."""

    def __init__(self, player: Player) -> None:
        self._player = player

    async def write(self, audio: Audio, encoding: str) -> None:
        await self._player.play(audio.samples, audio.sample_rate_hz)

    async def finish(self) -> None:
        await self._player.finish()

    def close(self) -> None:
        self._player.close()


async def _in_daemon(work: Callable[[], None]) -> None:
    """Run `work` in a thread that nobody waits for at exit, because nothing can interrupt it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def run() -> None:
        failure: Exception | None = None
        try:
            work()
        except (OutputError, PipeClosedError) as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, daemon=True).start()
    await done
