"""Plays samples on the machine's sound card, through the optional package sounddevice."""

from __future__ import annotations

import asyncio
from typing import Any

from triptych.audio import Samples


class PlaybackError(Exception):
    """There is nothing to play on; the text says why."""


class Player:
    """Plays one stream of samples in order."""

    def __init__(self) -> None:
        try:
            import sounddevice  # noqa: PLC0415 - optional
        except ImportError:
            raise PlaybackError("--play needs sounddevice: pip install sounddevice") from None
        except OSError as error:
            raise PlaybackError(f"--play needs the PortAudio library: {error}") from None
        self._sounddevice: Any = sounddevice
        self._stream: Any = None
        try:
            sounddevice.query_devices(kind="output")
        except (sounddevice.PortAudioError, ValueError) as error:
            raise PlaybackError(f"--play found no sound card: {error}") from None

    async def play(self, samples: Samples, sample_rate_hz: int) -> None:
        """Hand over samples; returns when the card has taken them."""
        await asyncio.to_thread(self._write, samples, sample_rate_hz)

    async def finish(self) -> None:
        """Wait until all of it has been heard."""
        if self._stream is not None:
            await asyncio.to_thread(self._stream.stop)

    def close(self) -> None:
        """Stop at once."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _write(self, samples: Samples, sample_rate_hz: int) -> None:
        try:
            if self._stream is None:
                self._stream = self._sounddevice.OutputStream(
                    samplerate=sample_rate_hz, channels=1, dtype="int16", latency="low"
                )
                self._stream.start()
            self._stream.write(samples.reshape(-1, 1))
        except self._sounddevice.PortAudioError as error:
            raise PlaybackError(f"the sound card failed: {error}") from None
