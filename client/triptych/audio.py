"""Speech as it comes back: samples with their rate, and what the server decided about them."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from protos.tts.v1 import synthesis_pb2

Samples = NDArray[np.int16]
"""One channel of PCM."""


@dataclass(frozen=True)
class Utterance:
    """What was decided for this speech: enough to make the same again."""

    utterance_id: str
    session_id: str
    seed: int
    model: str
    model_revision: str
    voice_id: str
    policy: str


@dataclass(frozen=True)
class Segment:
    """A piece of the text that is spoken."""

    index: int
    text_start: int
    text_end: int
    """Offsets of the caller's text that this segment covers, in characters."""
    text_tokens: int
    codes: int
    samples: int
    finish_reason: str
    """``stop``, ``max_codes`` (the speech was cut at the model's limit) or ``cancelled``."""


@dataclass(frozen=True)
class Timings:
    """Where the time went, as the server measured it."""

    first_audio_ms: float
    total_ms: float
    audio_seconds: float
    compute_ms: dict[str, float] = field(default_factory=dict)
    """Computing time of each stage."""
    first_output_ms: dict[str, float] = field(default_factory=dict)
    """When each stage gave its first output."""


class _Pcm:
    """What audio of any length has."""

    samples: Samples
    sample_rate_hz: int

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz if self.sample_rate_hz else 0.0

    def as_float(self) -> NDArray[np.float32]:
        """Return the samples as float32 in [-1, 1)."""
        return self.samples.astype(np.float32) / np.float32(32768)


@dataclass(frozen=True, eq=False)
class Audio(_Pcm):
    """A run of samples of a stream."""

    samples: Samples
    sample_rate_hz: int
    start_sample: int
    """Index of the first of `samples` in the whole speech."""
    sequence: int
    segment: int
    utterance: Utterance | None
    """On the first run of a stream."""
    segment_end: Segment | None
    """On the last run of a segment."""
    timings: Timings | None
    """On the last run."""
    is_last: bool

    @property
    def start_ms(self) -> float:
        return 1000 * self.start_sample / self.sample_rate_hz if self.sample_rate_hz else 0.0

    @property
    def end_ms(self) -> float:
        return self.start_ms + 1000 * self.duration_seconds


@dataclass(frozen=True, eq=False)
class Speech(_Pcm):
    """A whole speech."""

    samples: Samples
    sample_rate_hz: int
    utterance: Utterance
    segments: tuple[Segment, ...]
    timings: Timings

    def save(self, path: str | PathLike[str]) -> None:
        """Write a 16-bit WAV file."""
        with WavWriter(path) as writer:
            writer.write(self.samples, self.sample_rate_hz)


class WavWriter:
    """Writes a 16-bit WAV file whose header is right after every write.

    The file is made by the first write, so that a call that fails leaves an older file alone.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._wave: wave.Wave_write | None = None

    def write(self, samples: Samples, sample_rate_hz: int) -> None:
        if self._wave is None:
            self._wave = wave.open(str(self.path), "wb")  # noqa: SIM115 - closed by close()
            self._wave.setnchannels(1)
            self._wave.setsampwidth(2)
            self._wave.setframerate(sample_rate_hz)
        self._wave.writeframes(samples.astype("<i2", copy=False).tobytes())

    def close(self) -> None:
        if self._wave is not None:
            self._wave.close()
            self._wave = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def audio_from_proto(chunk: synthesis_pb2.AudioChunk) -> Audio:
    return Audio(
        samples=pcm_samples(chunk.audio),
        sample_rate_hz=chunk.sample_rate_hz,
        start_sample=chunk.start_sample,
        sequence=chunk.sequence,
        segment=chunk.segment,
        utterance=_utterance(chunk.utterance) if chunk.HasField("utterance") else None,
        segment_end=_segment(chunk.segment_end) if chunk.HasField("segment_end") else None,
        timings=_timings(chunk.timings) if chunk.HasField("timings") else None,
        is_last=chunk.is_last,
    )


def speech_from_proto(response: synthesis_pb2.SynthesizeResponse) -> Speech:
    return Speech(
        samples=pcm_samples(response.audio),
        sample_rate_hz=response.sample_rate_hz,
        utterance=_utterance(response.utterance),
        segments=tuple(_segment(segment) for segment in response.segments),
        timings=_timings(response.timings),
    )


def pcm_samples(data: bytes) -> Samples:
    """Return little-endian 16-bit PCM as an array of this machine."""
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def _utterance(info: synthesis_pb2.UtteranceInfo) -> Utterance:
    return Utterance(
        utterance_id=info.utterance_id,
        session_id=info.session_id,
        seed=info.seed,
        model=info.model,
        model_revision=info.model_revision,
        voice_id=info.voice_id,
        policy=info.policy,
    )


def _segment(info: synthesis_pb2.SegmentInfo) -> Segment:
    reason = synthesis_pb2.FinishReason.Name(info.finish_reason)
    return Segment(
        index=info.segment,
        text_start=info.text_start,
        text_end=info.text_end,
        text_tokens=info.text_tokens,
        codes=info.codes,
        samples=info.samples,
        finish_reason=reason.removeprefix("FINISH_REASON_").lower(),
    )


def _timings(timings: synthesis_pb2.StageTimings) -> Timings:
    return Timings(
        first_audio_ms=timings.first_audio_ms,
        total_ms=timings.total_ms,
        audio_seconds=timings.audio_seconds,
        compute_ms=dict(timings.compute_ms),
        first_output_ms=dict(timings.first_output_ms),
    )
