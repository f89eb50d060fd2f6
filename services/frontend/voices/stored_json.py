"""What `voice.json` holds: a recording's facts, its names, and what is said under each of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.frontend.recordings.facts import RecordingFacts
from services.frontend.voices.record import StoredVoice, is_name

SAID = ("transcript", "description")


def dumps(voices: Sequence[StoredVoice], facts: RecordingFacts | None) -> bytes:
    names = {voice.name: {field: getattr(voice, field) for field in SAID} for voice in voices}
    return json.dumps({"names": names, "facts": facts.to_json() if facts else None}, indent=1).encode()


def loads(data: bytes, identifier: str) -> list[StoredVoice]:
    """The registered voices of a recording.

    Raises:
        ValueError: This is no such file.
    """
    file = _object(data)
    facts, names = _facts(file), file.get("names")
    if isinstance(names, list):
        # An older form, in which nothing is said of a voice.
        names = {name: {} for name in names if isinstance(name, str)}
    if not isinstance(names, dict):
        raise ValueError("names must be a mapping")  # noqa: TRY004 - a damaged file, whatever is wrong in it
    return [
        StoredVoice(
            name,
            identifier,
            facts=facts,
            transcript=str(said.get("transcript", "")),
            description=str(said.get("description", "")),
        )
        for name, said in names.items()
        if is_name(name) and isinstance(said, dict)
    ]


def loads_facts(data: bytes) -> RecordingFacts | None:
    """The facts alone, unless there are none or they are of an older form.

    Raises:
        ValueError: This is no such file.
    """
    return _facts(_object(data))


def _object(data: bytes) -> dict[str, Any]:
    file = json.loads(data)
    if not isinstance(file, dict):
        raise ValueError("must be a mapping")  # noqa: TRY004 - a damaged file, whatever is wrong in it
    return file


def _facts(file: dict[str, Any]) -> RecordingFacts | None:
    try:
        return RecordingFacts.from_json(file["facts"])
    except (KeyError, ValueError):
        return None
