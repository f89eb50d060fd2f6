"""Voices on disk, by the SHA-256 of their recording. Names from outside are keys, never paths.

    DIR/default.json                the voice that SetDefault chose
    DIR/<id>/recording              the file as it came
    DIR/<id>/voice.json             its facts, its names and what is said of them
    DIR/<id>/features-<revision>[-<transcript>].npz

Recordings of the model and of the operator's directory stay where they are and keep only facts and features here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, NotFoundError, TtsError
from services.common.reasons import Reason
from services.frontend.recordings.facts import RecordingFacts
from services.frontend.voices import feature_files, whole_files
from services.frontend.voices import stored_json as voice_json
from services.frontend.voices.record import ID, StoredVoice, VoiceSource, voice_id
from services.frontend.voices.table import VoiceTable

logger = structlog.get_logger(__name__)


class VoiceStore:
    """Reads what is there at the start; after that this process is the only writer.

    Its methods may run in threads: whatever changes voices does so one at a time, to its end even when the call
    that wanted it is cancelled. Each change is on disk before it can be seen; when the disk fails, nothing changes
    and TtsError says so with reason STORE_FAILED.
    """

    def __init__(self, directory: Path) -> None:
        self.table = VoiceTable()
        self._directory = directory
        self._writing = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TtsError(
                f"voice_store is {directory}, which cannot be made a directory: {error.strerror}",
                field="voice_store",
                reason=Reason.STORE_FAILED,
            ) from error
        for path in sorted(directory.glob("*/voice.json")):
            self._load(path)

    def add(
        self, voice: StoredVoice, recording: bytes, features: Mapping[str, Mapping[str, object]] | None = None
    ) -> StoredVoice:
        """Keep a recording under a name; a name that it has already keeps what is not said anew.

        Args:
            voice: The name and what is said of it.
            recording: The file, whose hash is the voice's id.
            features: Features that are known already, by their keys.

        Raises:
            AlreadyExistsError: The name stands for another recording.
        """
        assert voice.id == voice_id(recording)
        with self._writing:
            self.table.check_free(voice.name, voice.id, field_path="config.name")
            known = self.table.named(voice.name)
            if known is not None and known.source is not VoiceSource.REGISTERED:
                return known
            if known is not None:
                said = {field: value for field in voice_json.SAID if (value := getattr(voice, field))}
                voice = replace(known, **said)
            try:
                if not self._registered(voice.id):
                    whole_files.write(self._folder(voice.id) / "recording", recording)
                for key, value in (features or {}).items():
                    feature_files.write(self._folder(voice.id), key, value)
                self._save(voice.id, [*self._others(voice), voice], voice.facts)
            except TtsError:
                self._discard(voice.id)
                raise
            self.table.put(voice)
            return voice

    def update(self, name: str, change: Callable[[StoredVoice], StoredVoice]) -> StoredVoice:
        """Change a registered voice's name or what is said of it.

        Raises:
            AlreadyExistsError: Its new name is taken.
            NotFoundError: There is no such name.
            InvalidRequestError: The voice is not the callers', or is named by its id.
        """
        with self._writing:
            known = self.own(name)
            voice = change(known)
            if voice.name != name:
                self.table.check_free(voice.name, field_path="new_name")
            self._save(voice.id, [*self._others(known), voice], voice.facts)
            self.table.put(voice)
            if voice.name != name:
                self.table.drop(name)
            if known.transcript != voice.transcript:
                self._drop_features(known)
            return voice

    def remove(self, name: str) -> StoredVoice:
        """Forget a name; the recording and its features go with its last one.

        Raises:
            NotFoundError: There is no such name.
            InvalidRequestError: The voice is not the callers', or is named by its id.
        """
        with self._writing:
            voice = self.own(name)
            if len(self.table.with_id(voice.id)) > 1:
                self._save(voice.id, self._others(voice), voice.facts)
            else:
                with whole_files.store_errors():
                    (self._folder(voice.id) / "voice.json").unlink(missing_ok=True)
            self.table.drop(name)
            self._discard(voice.id)
            return voice

    def own(self, name: str) -> StoredVoice:
        """The voice of a name that callers may change.

        Raises:
            NotFoundError: There is no such name.
            InvalidRequestError: The voice is not the callers', or is named by its id.
        """
        voice = self.table.find(name, field_path="name")
        if voice.name != name:
            raise InvalidRequestError(
                f"a voice is changed and deleted by its name; this one's: {voice.name}", field="name"
            )
        if voice.source is not VoiceSource.REGISTERED:
            owner = "comes with the model" if voice.source is VoiceSource.BUNDLED else "is a file of the operator's"
            raise InvalidRequestError(
                f"voice {name!r} {owner} and cannot be changed or deleted",
                field="name",
                reason=Reason.VOICE_READ_ONLY,
            )
        return voice

    def put_file(self, voice: StoredVoice) -> StoredVoice | None:
        """Name a recording that lies elsewhere; None when the name is taken by another voice."""
        with self._writing:
            known = self.table.named(voice.name)
            if known is not None and (known.source, known.path) != (voice.source, voice.path):
                return None
            if known is not None and known.id == voice.id:
                return known
            put = replace(voice, facts=self._cached_facts(voice.id))
            self.table.put(put)
            if known is not None:
                self._discard(known.id)
            return put

    def drop_file(self, voice: StoredVoice) -> None:
        """Forget a name that `put_file` gave."""
        with self._writing:
            known = self.table.named(voice.name)
            if known is not None and (known.id, known.path) == (voice.id, voice.path):
                self.table.drop(voice.name)
                self._discard(voice.id)

    def set_facts(self, identifier: str, facts: RecordingFacts) -> None:
        """Note what is known of a recording; the disk is only a memory of it, and may fail."""
        with self._writing:
            self.table.change(identifier, lambda voice: replace(voice, facts=facts))
            if self.table.with_id(identifier):
                try:
                    self._save(identifier, self._registered(identifier), facts)
                except TtsError as error:
                    logger.warning("facts_not_kept", voice_id=identifier, error=error.message)

    def recording(self, voice: StoredVoice, *, field_path: str = "config.voice") -> bytes:
        """The file as it came.

        Raises:
            NotFoundError: It has disappeared from the disk, or is another one now.
        """
        path = voice.path or self._folder(voice.id) / "recording"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _gone(voice, field_path) from error
        if voice_id(data) != voice.id:
            raise _gone(voice, field_path)
        return data

    def features(self, identifier: str, key: str) -> Tensors | None:
        """The features that were kept under this key, unless there are none or they are damaged."""
        return feature_files.read(self._folder(identifier), key)

    def put_features(self, identifier: str, key: str, features: Mapping[str, object]) -> bool:
        """Keep features; False, with nothing written, when the voice has been removed meanwhile."""
        with self._writing:
            if not self.table.with_id(identifier):
                return False
            feature_files.write(self._folder(identifier), key, features)
        return True

    def default_name(self) -> str:
        """The name that was chosen; empty when none was."""
        try:
            name = json.loads((self._directory / "default.json").read_text(encoding="utf-8"))["name"]
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("default_voice_damaged", error=type(error).__name__)
            return ""
        return name if isinstance(name, str) else ""

    def put_default_name(self, name: str) -> None:
        with self._writing:
            whole_files.write(self._directory / "default.json", json.dumps({"name": name}).encode())

    def _registered(self, identifier: str) -> list[StoredVoice]:
        return [voice for voice in self.table.with_id(identifier) if voice.source is VoiceSource.REGISTERED]

    def _others(self, voice: StoredVoice) -> list[StoredVoice]:
        return [other for other in self._registered(voice.id) if other.name != voice.name]

    def _discard(self, identifier: str) -> None:
        """Remove from disk what no name needs any more; what stays behind is only room on the disk."""
        if not self.table.with_id(identifier):
            shutil.rmtree(self._folder(identifier), ignore_errors=True)
        elif not self._registered(identifier):
            with contextlib.suppress(OSError):
                (self._folder(identifier) / "recording").unlink(missing_ok=True)

    def _drop_features(self, voice: StoredVoice) -> None:
        """Features that were made with a transcript which is no longer said."""
        if voice.transcript and not any(each.transcript == voice.transcript for each in self.table.with_id(voice.id)):
            feature_files.remove(self._folder(voice.id), voice.transcript)

    def _folder(self, identifier: str) -> Path:
        assert ID.fullmatch(identifier)
        return self._directory / identifier

    def _load(self, path: Path) -> None:
        identifier = path.parent.name
        if not ID.fullmatch(identifier) or not (path.parent / "recording").is_file():
            return
        try:
            voices = voice_json.loads(path.read_bytes(), identifier)
        except (OSError, ValueError) as error:
            logger.warning("voice_damaged", path=str(path), error=type(error).__name__)
            return
        for voice in voices:
            if self.table.named(voice.name) is None:
                self.table.put(voice)

    def _cached_facts(self, identifier: str) -> RecordingFacts | None:
        known = self.table.with_id(identifier)
        if known:
            return known[0].facts
        try:
            return voice_json.loads_facts((self._folder(identifier) / "voice.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _save(self, identifier: str, voices: list[StoredVoice], facts: RecordingFacts | None) -> None:
        whole_files.write(self._folder(identifier) / "voice.json", voice_json.dumps(voices, facts))


def _gone(voice: StoredVoice, field_path: str) -> NotFoundError:
    return NotFoundError(
        f"the recording of voice {voice.name!r} has gone", field=field_path, reason=Reason.RECORDING_GONE
    )
