"""Plays samples while they arrive: a little is kept back at first, and gaps are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from triptych.encodings import Samples
from triptych.playback_buffer import PlaybackBuffer

PREBUFFER_MS = 100

_LARGEST_LEAD_SECONDS = 30.0
"""So much is taken before it sounds; then whoever brings the samples waits."""
_STALL_SECONDS = 5.0

Fill = Callable[[Samples, bool], bool]
"""Writes the next samples over all of an array, given whether the call comes too late; False after the last ones."""


class PlaybackError(Exception):
    """There is nothing to play on; the text says why."""


class DeviceStream(Protocol):
    """Sound that comes out of a device until it is closed."""

    def start(self) -> None:
        """Begin to call `fill`."""

    def close(self) -> None:
        """Be silent at once."""


class Device(Protocol):
    """What turns samples into sound, in a thread of its own."""

    def open(self, sample_rate_hz: int, fill: Fill, on_end: Callable[[], None]) -> DeviceStream:
        """Return a stream that calls `fill` for each block, and `on_end` when no more calls follow.

        `on_end` follows when the last samples have been heard, and also when the device fails.

        Raises:
            PlaybackError: if the device does not play at this rate, or not at all.
        """


class Player:
    """Plays one stream of samples in order; belongs to one event loop.

    Args:
        prebuffer_ms: How much has to be there before anything sounds.
        device: The default sound card, if it is None.
        stall_seconds: A device that takes nothing for so long has failed.

    Raises:
        PlaybackError: if there is no sound card.
    """

    def __init__(
        self,
        *,
        prebuffer_ms: int = PREBUFFER_MS,
        device: Device | None = None,
        stall_seconds: float = _STALL_SECONDS,
    ) -> None:
        self._prebuffer_ms = prebuffer_ms
        self._device = device or _sound_card()
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._has_stopped = False
        self._sample_rate_hz = 0
        self._buffer = PlaybackBuffer(0)
        self._stream: DeviceStream | None = None

    @property
    def underruns(self) -> int:
        """How often the listener had to wait for more."""
        return self._buffer.underruns

    @property
    def silent_seconds(self) -> float:
        """For how long, in all."""
        return self._buffer.silent_samples / self._sample_rate_hz if self._sample_rate_hz else 0.0

    async def play(self, samples: Samples, sample_rate_hz: int) -> None:
        """Hand over samples; returns when there is room for more.

        Raises:
            PlaybackError: if the device has failed.
        """
        if self._stream is None:
            self._open(sample_rate_hz)
        self._buffer.put(samples)
        largest_lead = int(_LARGEST_LEAD_SECONDS * sample_rate_hz)
        self._check()
        while self._buffer.buffered_samples > largest_lead:
            await self._until_moved()
            self._check()

    async def finish(self) -> None:
        """Wait until all of it has been heard.

        Raises:
            PlaybackError: if the device has failed before.
        """
        self._buffer.end()
        while self._stream is not None and not self._has_stopped:
            await self._until_moved()
        if self._buffer.buffered_samples:
            self._check()
        self.close()

    def close(self) -> None:
        """Stop at once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _open(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._buffer = PlaybackBuffer(self._prebuffer_ms * sample_rate_hz // 1000)
        self._stream = self._device.open(sample_rate_hz, self._fill, self._on_end)
        self._stream.start()

    def _fill(self, out: Samples, was_late: bool) -> bool:
        is_more = self._buffer.fill(out, was_late=was_late)
        self._loop.call_soon_threadsafe(self._moved.set)
        return is_more

    def _on_end(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped)

    def _stopped(self) -> None:
        self._has_stopped = True
        self._moved.set()

    def _check(self) -> None:
        if self._has_stopped:
            raise PlaybackError("the sound card stopped before the end of the speech")

    async def _until_moved(self) -> None:
        """Wait until the device has taken something, or stopped."""
        self._moved.clear()
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._moved.wait()
        except TimeoutError:
            raise PlaybackError(f"the sound card has taken nothing for {self._stall_seconds:g} s") from None


def _sound_card() -> Device:
    from triptych.sound_card import SoundCard  # noqa: PLC0415 - its package is optional

    return SoundCard()
