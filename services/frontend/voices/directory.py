"""Voices that are files: those that come with a model, and those that an operator puts into a directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchfiles import awatch

from services.common.errors import InvalidRequestError
from services.frontend.voices.record import StoredVoice, VoiceSource, is_name
from services.frontend.voices.store import VoiceStore

logger = structlog.get_logger(__name__)

SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")

Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Look:
    """What was seen of a file; it holds for as long as its stamp does."""

    stamp: Stamp | None
    id: str = ""
    """Empty when the file is no voice."""


@dataclass(frozen=True)
class Changes:
    """What is new in the table of voices, and what has gone from it."""

    new: tuple[StoredVoice, ...] = ()
    gone: tuple[StoredVoice, ...] = ()


class VoiceDirectory:
    """Keeps a store's table like the audio files of a directory: a file's name without suffix is a voice's name.

    What cannot be a voice is named in the log, once, and skipped.
    """

    def __init__(
        self, path: Path, store: VoiceStore, *, source: VoiceSource, max_bytes: int, poll_seconds: float = 2.0
    ) -> None:
        self.path = path
        self._store = store
        self._source = source
        self._max_bytes = max_bytes
        self._poll_seconds = poll_seconds
        self._seen: dict[Path, Look] = {}
        self._shadowed: set[Path | None] = set()
        self._is_gone = False
        self._syncing = threading.Lock()

    def check(self, *, field_path: str) -> None:
        """Raise InvalidRequestError unless there is such a directory."""
        if not self.path.is_dir():
            raise InvalidRequestError(
                f"{field_path} is {self.path}, which is no directory; name one that exists, or none", field=field_path
            )

    def sync(self) -> Changes:
        """Read the directory and bring the table in line; reads files, so call it in a thread."""
        with self._syncing:
            found = {voice.path: voice for voice in self._scan()}
            before = {voice.path: voice for voice in self._voices()}
            gone = [voice for path, voice in before.items() if path not in found]
            for voice in gone:
                self._store.drop_file(voice)
                logger.info("voice_file_gone", file=_file(voice), voice_id=voice.id)
            fresh = [voice for path, voice in found.items() if path not in before or before[path].id != voice.id]
            replaced = [before[voice.path] for voice in fresh if voice.path in before]
            new = [put for voice in fresh if (put := self._put(voice)) is not None]
            return Changes(tuple(new), (*gone, *replaced))

    def refuse(self, voice: StoredVoice, why: str) -> None:
        """Take a file that turned out to be no recording out of the table until it changes."""
        look = self._seen.get(voice.path) if voice.path is not None else None
        if look is not None and look.id == voice.id and voice.path is not None:
            logger.warning("voice_file_skipped", file=_file(voice), why=why)
            self._seen[voice.path] = Look(look.stamp)
        self._store.drop_file(voice)

    async def changed(self) -> AsyncIterator[None]:
        """Yield whenever a file may have come, changed or gone: at once where the system says so, else by and by."""
        is_told = False
        while True:
            try:
                async with aclosing(_watch(self.path, self._poll_seconds)) as changes:
                    async for _ in changes:
                        yield
            except (OSError, RuntimeError) as error:
                if not is_told:
                    logger.warning("voices_dir_not_watched", path=str(self.path), error=type(error).__name__)
                is_told = True
                await asyncio.sleep(self._poll_seconds)
            yield

    def _voices(self) -> list[StoredVoice]:
        voices = self._store.table.all(self._source)
        return [voice for voice in voices if voice.path is not None and voice.path.parent == self.path]

    def _put(self, voice: StoredVoice) -> StoredVoice | None:
        put = self._store.put_file(voice)
        holder = self._store.table.named(voice.name)
        # Models may come with the same recordings: whoever asks for the name gets this one all the same.
        is_shadowed = put is None and holder is not None and holder.id != voice.id
        if is_shadowed and voice.path not in self._shadowed:
            logger.warning("voice_file_shadowed", file=_file(voice), why="another voice has this name")
        self._shadowed = (self._shadowed | {voice.path}) if is_shadowed else (self._shadowed - {voice.path})
        return put

    def _scan(self) -> list[StoredVoice]:
        try:
            paths = sorted(self.path.iterdir())
        except OSError as error:
            if not self._is_gone:
                logger.error("voices_dir_gone", path=str(self.path), error=type(error).__name__)  # noqa: TRY400
            self._is_gone, self._seen = True, {}
            return []
        self._is_gone = False
        # Kubernetes keeps what a mounted volume's links point to in hidden folders beside them.
        self._seen = {path: self._look(path) for path in paths if not path.name.startswith(".")}
        return [
            StoredVoice(path.stem, look.id, self._source, path=path) for path, look in self._seen.items() if look.id
        ]

    def _look(self, path: Path) -> Look:
        stamp = _stamp(path)
        known = self._seen.get(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return Look(stamp, _checked_id(path, self._max_bytes))
        except (OSError, ValueError) as error:
            why = type(error).__name__ if isinstance(error, OSError) else str(error)
            logger.warning("voice_file_skipped", file=path.name, why=why)
            return Look(stamp)


def _checked_id(path: Path, max_bytes: int) -> str:
    """Hash of a file that may be a voice; raises OSError or ValueError when it may not."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("it is no file")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a voice's file ends in one of: {', '.join(SUFFIXES)}")
    if not is_name(path.stem):
        raise ValueError("its name is no voice's name: 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"it has more than the {max_bytes} bytes that are allowed")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


async def _watch(path: Path, poll_seconds: float) -> AsyncGenerator[None, None]:
    """Yield on every change that the system tells of and every few seconds, until the path is another directory."""
    watched = _inode(path)
    watcher = awatch(
        path, watch_filter=None, recursive=False, yield_on_timeout=True, rust_timeout=int(1000 * poll_seconds)
    )
    async with aclosing(watcher) as changes:
        async for _ in changes:
            yield
            if _inode(path) != watched:
                return


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - two numbers
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _file(voice: StoredVoice) -> str:
    return voice.path.name if voice.path is not None else voice.name
