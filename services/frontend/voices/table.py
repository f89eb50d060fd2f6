"""Which voices there are: names and ids in memory. Whoever changes a table does so one at a time."""

from __future__ import annotations

from collections.abc import Callable

from services.common.errors import AlreadyExistsError, NotFoundError
from services.common.reasons import Reason
from services.frontend.voices.record import StoredVoice, VoiceSource

MAX_NAMES_IN_ERROR = 5


class VoiceTable:
    """Every change replaces the whole mapping, so that other threads read the old or the new one."""

    def __init__(self) -> None:
        self._voices: dict[str, StoredVoice] = {}

    def names(self) -> list[str]:
        return sorted(self._voices)

    def named(self, name: str) -> StoredVoice | None:
        return self._voices.get(name)

    def with_id(self, identifier: str) -> list[StoredVoice]:
        """All names of a recording, those that callers registered first."""
        return [voice for voice in self.all() if voice.id == identifier]

    def all(self, source: VoiceSource | None = None) -> list[StoredVoice]:
        """All voices, or those from one source, in the order of sources and names."""
        voices = [voice for voice in self._voices.values() if source in {None, voice.source}]
        return sorted(voices, key=lambda voice: (voice.source, voice.name))

    def find(self, name_or_id: str, *, field_path: str) -> StoredVoice:
        """Raise NotFoundError, with a few of the names there are, unless there is such a voice."""
        voice = self._voices.get(name_or_id) or next(iter(self.with_id(name_or_id)), None)
        if voice is None:
            names = self.names()
            shown = ", ".join(names[:MAX_NAMES_IN_ERROR]) + (", …" if len(names) > MAX_NAMES_IN_ERROR else "")
            raise NotFoundError(
                f"there is no such voice; voices: {shown or 'none'}",
                field=field_path,
                reason=Reason.VOICE_NOT_FOUND,
                metadata={"resource_type": "voice", "resource_name": name_or_id[:64]},
            )
        return voice

    def check_free(self, name: str, identifier: str = "", *, field_path: str) -> None:
        """Raise AlreadyExistsError when a name stands for another recording than this one."""
        voice = self._voices.get(name)
        if voice is not None and voice.id != identifier:
            raise AlreadyExistsError(
                f"the name {name!r} is taken by another voice", field=field_path, reason=Reason.VOICE_NAME_TAKEN
            )

    def put(self, voice: StoredVoice) -> None:
        self._voices = {**self._voices, voice.name: voice}

    def drop(self, name: str) -> None:
        self._voices = {each: voice for each, voice in self._voices.items() if each != name}

    def change(self, identifier: str, change: Callable[[StoredVoice], StoredVoice]) -> None:
        """Change every name of a recording."""
        self._voices = {
            name: change(voice) if voice.id == identifier else voice for name, voice in self._voices.items()
        }
