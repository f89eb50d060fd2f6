"""The machine's default sound card, through the optional package sounddevice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triptych.playback import DeviceStream, Fill, PlaybackError


class SoundCard:
    """Opens streams on the default output device.

    Raises:
        PlaybackError: if the package, its library or a device is missing.
    """

    def __init__(self) -> None:
        try:
            import sounddevice  # noqa: PLC0415 - optional
        except ImportError:
            raise PlaybackError("--play needs sounddevice: pip install sounddevice") from None
        except OSError as error:
            raise PlaybackError(f"--play needs the PortAudio library: {error}") from None
        self._sounddevice: Any = sounddevice
        try:
            sounddevice.query_devices(kind="output")
        except (sounddevice.PortAudioError, ValueError) as error:
            raise PlaybackError(f"--play found no sound card: {error}") from None

    def open(self, sample_rate_hz: int, fill: Fill, on_end: Callable[[], None]) -> DeviceStream:
        def on_block(out: Any, _frames: int, _time: Any, status: Any) -> None:
            if not fill(out[:, 0], bool(status.output_underflow)):
                raise self._sounddevice.CallbackStop

        try:
            stream = self._sounddevice.OutputStream(
                samplerate=sample_rate_hz,
                channels=1,
                dtype="float32",
                latency="low",
                callback=on_block,
                finished_callback=on_end,
            )
        except self._sounddevice.PortAudioError as error:
            raise PlaybackError(f"the sound card does not play at {sample_rate_hz} Hz: {error}") from None
        return _Stream(stream, self._sounddevice.PortAudioError)


class _Stream:
    def __init__(self, stream: Any, failure: type[Exception]) -> None:
        self._stream = stream
        self._failure = failure

    def start(self) -> None:
        try:
            self._stream.start()
        except self._failure as error:
            raise PlaybackError(f"the sound card failed: {error}") from None

    def close(self) -> None:
        self._stream.close()
