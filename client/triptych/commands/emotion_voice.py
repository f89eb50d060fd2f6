"""Registers the recording of `--emotion-voice`, and says so: it stays on the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from triptych.async_client import AsyncClient
from triptych.options import Emotion, Options
from triptych.recording import is_name


async def with_registered_emotion(client: AsyncClient, options: Options, tell: Callable[[str], None]) -> Options:
    """Return `options` with a recording of an emotion replaced by its voice on the server.

    Raises:
        TtsError: if it cannot be read, or not be registered.
    """
    emotion = options.get("emotion")
    if not isinstance(emotion, Emotion) or emotion.voice is None or is_name(emotion.voice):
        return options
    voice = await client.voices.of_recording(emotion.voice)
    tell(f"the recording of --emotion-voice is the voice {voice.name} on the server, and stays there")
    return {**options, "emotion": dataclasses.replace(emotion, voice=voice.id)}
