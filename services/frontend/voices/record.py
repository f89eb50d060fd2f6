"""What is known of a voice, and what may be said of one. Names from outside are keys, never paths."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.recordings.facts import RecordingFacts

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
ID = re.compile(r"[0-9a-f]{64}")
MAX_TRANSCRIPT_CHARACTERS = 2_000
MAX_DESCRIPTION_CHARACTERS = 500


class VoiceSource(IntEnum):
    """Who brought a voice; the numbers are the public contract's."""

    REGISTERED = 1
    BUNDLED = 2
    DIRECTORY = 3


@dataclass(frozen=True)
class StoredVoice:
    """A name and the recording that it stands for; one recording may have several names."""

    name: str
    id: str
    source: VoiceSource = VoiceSource.REGISTERED
    facts: RecordingFacts | None = None
    """None while the recording has not been looked at."""
    transcript: str = ""
    description: str = ""
    path: Path | None = field(default=None, compare=False)
    """Where the recording lies when it is not in the store."""


def voice_id(recording: bytes) -> str:
    return hashlib.sha256(recording).hexdigest()


def is_name(name: str) -> bool:
    """Whether a voice may have this name: a plain word that is neither a path nor a voice's id."""
    return bool(NAME.fullmatch(name)) and set(name) != {"."} and not ID.fullmatch(name)


def check_name(name: str, *, field_path: str) -> None:
    """Raise InvalidRequestError unless a voice may have this name."""
    if not is_name(name):
        raise InvalidRequestError(
            "a voice's name is 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.', neither dots alone nor like a voice's id",
            field=field_path,
            reason=Reason.VOICE_NAME_INVALID,
        )


def check_said(name: str | None, transcript: str | None, description: str | None, *, path: str = "config.") -> None:
    """Raise InvalidRequestError unless all this may be said of a voice; None is not said.

    Args:
        name: Its name.
        transcript: What is said in its recording.
        description: For people.
        path: Where the fields are, with a dot behind; those of an update are at the top and its name is `new_name`.
    """
    if name is not None:
        check_name(name, field_path=f"{path}name" if path else "new_name")
    if transcript is not None:
        check_transcript(transcript, field_path=f"{path}transcript")
    if description is not None:
        _check_length(description, MAX_DESCRIPTION_CHARACTERS, f"{path}description")


def check_transcript(transcript: str, *, field_path: str) -> None:
    _check_length(transcript, MAX_TRANSCRIPT_CHARACTERS, field_path)


def _check_length(text: str, maximum: int, field_path: str) -> None:
    if len(text) > maximum:
        raise InvalidRequestError(
            f"{field_path} has {len(text)} characters; at most {maximum} are allowed",
            field=field_path,
            reason=Reason.OUT_OF_RANGE,
            metadata={"maximum": str(maximum)},
        )
