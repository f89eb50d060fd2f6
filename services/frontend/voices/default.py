"""The voice of requests that name none."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from services.common.errors import NotFoundError, TtsError
from services.common.reasons import Reason
from services.frontend.voices.record import StoredVoice
from services.frontend.voices.store import VoiceStore

logger = structlog.get_logger(__name__)


class DefaultVoice:
    """What the operator set, else what was chosen lately, else the first of the model's own.

    Args:
        store: Keeps the choice across restarts.
        setting: Name or id; empty for none.
        fallbacks: Names, the first that there is serves when nothing was set or what was set is gone.

    Raises:
        NotFoundError: The setting names no voice.
    """

    def __init__(self, store: VoiceStore, *, setting: str, fallbacks: Sequence[str]) -> None:
        self._store = store
        self._fallbacks = tuple(fallbacks)
        self._chosen = store.default_name()
        self._name = _of_setting(store, setting) if setting else self._chosen
        self._missed = ""

    def name(self) -> str:
        """The default voice's name; empty when there is no voice to fall back on."""
        table = self._store.table
        if self._name and table.named(self._name) is not None:
            self._missed = ""
            return self._name
        name = next((name for name in self._fallbacks if table.named(name) is not None), "")
        if self._name and self._missed != self._name:
            self._log_gone(name)
            self._missed = self._name
        return name

    def choose(self, voice: StoredVoice) -> None:
        """Make a voice the default one, now and after a restart without the setting."""
        self._store.put_default_name(voice.name)
        self._name = self._chosen = voice.name

    def follow(self, old: str, new: str) -> None:
        """A voice has another name now; empty when it was deleted."""
        if old == self._name:
            self._name = new
            if not new:
                self._log_gone(self.name())
        if old == self._chosen:
            self._chosen = new
            try:
                self._store.put_default_name(new)
            except TtsError as error:
                logger.warning("default_voice_not_kept", reason=error.reason)

    def _log_gone(self, default: str) -> None:
        # By id: a name may be what a caller thought of.
        voice = self._store.table.named(default)
        logger.warning("default_voice_gone", default_voice_id=voice.id if voice is not None else "")


def _of_setting(store: VoiceStore, setting: str) -> str:
    try:
        return store.table.find(setting, field_path="default_voice").name
    except NotFoundError as error:
        raise NotFoundError(
            f"the setting default_voice: {error.message}",
            field=error.field,
            reason=Reason.VOICE_NOT_FOUND,
            metadata=error.metadata,
        ) from None
