"""Voices on disk, by the SHA-256 of their recording. Names from outside are keys, never paths.

    DIR/<id>/recording              the file as it came
    DIR/<id>/voice.json             its facts and its names
    DIR/<id>/features-<revision>.npz

Bundled voices stay where they are, are read-only, and keep only facts and features here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import structlog

from services.common.arrays import Tensors
from services.common.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from services.frontend.recording import RecordingFacts

logger = structlog.get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
ID = re.compile(r"[0-9a-f]{64}")
REVISION = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_NAMES_IN_ERROR = 5


@dataclass(frozen=True)
class StoredVoice:
    """A recording that has at least one name."""

    id: str
    names: tuple[str, ...]
    facts: RecordingFacts | None = None
    """None while a bundled recording has not been looked at."""
    bundled_path: Path | None = field(default=None, compare=False)
    bundled_names: tuple[str, ...] = ()
    """Those of the names that come with the model and cannot be deleted."""


def check_name(name: str, *, field_path: str) -> None:
    """Raise InvalidRequestError unless a voice may have this name."""
    if not NAME.fullmatch(name) or set(name) == {"."}:
        raise InvalidRequestError(
            "a voice's name is 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.', and not only dots", field=field_path
        )
    if ID.fullmatch(name):
        raise InvalidRequestError("a voice's name must not look like a voice's id", field=field_path)


def voice_id(recording: bytes) -> str:
    return hashlib.sha256(recording).hexdigest()


class VoiceStore:
    """Reads what is there at the start; after that this process is the only writer.

    Its methods may run in threads: whatever changes voices does so one at a time, to its end even when the call
    that wanted it is cancelled.

    Every file is written beside its place and then renamed, so that a crash leaves the old or the new one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._voices: dict[str, StoredVoice] = {}
        self._ids: dict[str, str] = {}
        self._writing = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(directory.glob("*/voice.json")):
            self._load(path)

    def add_bundled(self, directory: Path) -> list[str]:
        """Register the audio files of a directory under their stems; give the names in order."""
        names = []
        for path in sorted(directory.glob("*")):
            if path.suffix not in {".flac", ".wav"} or not NAME.fullmatch(path.stem):
                continue
            identifier = voice_id(path.read_bytes())
            if self._ids.get(path.stem, identifier) != identifier:
                # The caller's own voice of that name stays what it was.
                logger.warning("bundled_voice_shadowed", voice=path.stem)
                continue
            known = self._voices.get(identifier) or StoredVoice(identifier, (), self._cached_facts(identifier))
            self._put(
                replace(
                    known,
                    names=tuple(dict.fromkeys((*known.names, path.stem))),
                    bundled_path=known.bundled_path or path,
                    bundled_names=(*known.bundled_names, path.stem),
                )
            )
            names.append(path.stem)
        return names

    def find(self, name_or_id: str, *, field_path: str) -> StoredVoice:
        """Raise NotFoundError, with a few of the names there are, unless there is such a voice."""
        identifier = self._ids.get(name_or_id, name_or_id)
        voice = self._voices.get(identifier)
        if voice is None:
            names = self.names()
            shown = ", ".join(names[:MAX_NAMES_IN_ERROR]) + (", …" if len(names) > MAX_NAMES_IN_ERROR else "")
            raise NotFoundError(
                f"there is no such voice; voices: {shown or 'none'}",
                field=field_path,
                reason="VOICE_NOT_FOUND",
                metadata={"resource_type": "voice", "resource_name": name_or_id[:64]},
            )
        return voice

    def names(self) -> list[str]:
        return sorted(self._ids)

    def owner(self, name: str) -> str | None:
        """The id that a name stands for."""
        return self._ids.get(name)

    def add(self, name: str, recording: bytes, facts: RecordingFacts) -> StoredVoice:
        """Keep a recording under a name.

        Raises:
            AlreadyExistsError: The name stands for another recording.
        """
        identifier = voice_id(recording)
        with self._writing:
            self.check_free(name, identifier)
            known = self._voices.get(identifier) or StoredVoice(identifier, ())
            if name in known.names:
                return known
            voice = replace(known, names=(*known.names, name), facts=facts)
            _write(self._folder(identifier) / "recording", recording)
            self._save(voice)
            return voice

    def check_free(self, name: str, identifier: str) -> None:
        if self._ids.get(name, identifier) != identifier:
            raise AlreadyExistsError(f"the name {name!r} is taken by another recording", field="config.name")

    def remove(self, name: str) -> None:
        """Forget a name; the recording and its features go with its last one.

        Raises:
            NotFoundError: There is no such name.
            InvalidRequestError: The voice is bundled.
        """
        with self._writing:
            self._remove(name)

    def _remove(self, name: str) -> None:
        voice = self.find(name, field_path="name")
        if name in voice.bundled_names:
            raise InvalidRequestError(
                f"voice {name!r} is bundled with the model and cannot be deleted",
                field="name",
                reason="VOICE_READ_ONLY",
            )
        names = tuple(each for each in voice.names if each != name)
        if name not in voice.names:
            raise InvalidRequestError(
                f"a voice is deleted by its name; this one's: {', '.join(voice.names)}", field="name"
            )
        del self._ids[name]
        if names:
            self._save(replace(voice, names=names))
        else:
            del self._voices[voice.id]
            shutil.rmtree(self._folder(voice.id), ignore_errors=True)

    def set_facts(self, identifier: str, facts: RecordingFacts) -> StoredVoice:
        """Raise NotFoundError when the voice has been removed meanwhile."""
        with self._writing:
            voice = replace(self.find(identifier, field_path="name"), facts=facts)
            self._save(voice)
            return voice

    def recording(self, voice: StoredVoice) -> bytes:
        """The file as it came.

        Raises:
            NotFoundError: It has disappeared from the disk.
        """
        path = voice.bundled_path or self._folder(voice.id) / "recording"
        try:
            return path.read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"the recording of voice {voice.names[0]!r} has gone", field="config.voice", reason="RECORDING_GONE"
            ) from error

    def features(self, identifier: str, revision: str) -> Tensors | None:
        """The features that were computed for this model revision, unless there are none or they are damaged."""
        path = self._features_path(identifier, revision)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            logger.warning("features_damaged", voice_id=identifier, error=type(error).__name__)
            return None

    def put_features(self, identifier: str, revision: str, features: Mapping[str, object]) -> bool:
        """Keep features; False, with nothing written, when the voice has been removed meanwhile."""
        path = self._features_path(identifier, revision)
        with self._writing:
            if identifier not in self._voices:
                return False
            path.parent.mkdir(exist_ok=True)
            with _replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **features)  # type: ignore[arg-type]
        return True

    def _features_path(self, identifier: str, revision: str) -> Path:
        # The revision comes from a worker: it is part of a path only when it is a plain word.
        word = revision if REVISION.fullmatch(revision) else hashlib.sha256(revision.encode()).hexdigest()
        return self._folder(identifier) / f"features-{word}.npz"

    def _folder(self, identifier: str) -> Path:
        assert ID.fullmatch(identifier)
        return self._directory / identifier

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            facts = _facts(data["facts"])
            names = tuple(name for name in data["names"] if NAME.fullmatch(name))
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("voice_damaged", path=str(path), error=type(error).__name__)
            return
        if names and ID.fullmatch(path.parent.name) and (path.parent / "recording").is_file():
            self._put(StoredVoice(path.parent.name, names, facts))

    def _cached_facts(self, identifier: str) -> RecordingFacts | None:
        try:
            return _facts(json.loads((self._folder(identifier) / "voice.json").read_text(encoding="utf-8"))["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _put(self, voice: StoredVoice) -> None:
        self._voices[voice.id] = voice
        self._ids.update(dict.fromkeys(voice.names, voice.id))

    def _save(self, voice: StoredVoice) -> None:
        self._put(voice)
        names = [name for name in voice.names if name not in voice.bundled_names]
        data = {"names": names, "facts": asdict(voice.facts) if voice.facts else None}
        _write(self._folder(voice.id) / "voice.json", json.dumps(data, indent=1).encode())


def _facts(data: dict[str, object]) -> RecordingFacts:
    facts = RecordingFacts(**data)  # type: ignore[arg-type]
    return replace(facts, warnings=tuple(facts.warnings))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when all has gone well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
