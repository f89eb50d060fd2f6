"""Decodes one recording in a process of its own: `python -m services.frontend.recordings.decode_child JOB`.

A file from outside meets a decoder in C here and nowhere else. The job comes as JSON in the argument, the
file on stdin; one JSON line goes out, followed by the raw float32 arrays that it announces. The process
limits its own memory and time before it looks at a single byte.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from typing import Any

# One thread: each more of them reserves address space, which is limited here.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from services.common.reasons import Reason
from services.frontend.recordings.containers import is_truncated
from services.frontend.recordings.decode_job import Job
from services.frontend.recordings.quality import warnings_of

FORMATS = ("WAV", "WAVEX", "FLAC", "MP3", "OGG")
SILENT_PEAK = 1e-3
"""-60 dB of full scale."""

Samples = npt.NDArray[np.float32]


class RefusedError(Exception):
    """The recording cannot be used."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def limit_process(memory_bytes: int, cpu_seconds: int) -> None:
    """Bound this process's address space, computing time and what it could write."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode(data: bytes, job: Job) -> tuple[dict[str, Any], list[Samples]]:
    """Read a file into mono float32 at every rate that is asked for.

    Returns:
        The facts of the recording, and one array for each rate, cut to the seconds that are used.

    Raises:
        RefusedError: The file is no recording that can be used.
    """
    if not data:
        raise RefusedError(Reason.RECORDING_EMPTY, "the recording has no bytes")
    with _open(data) as file:
        _check_format(file, job)
        rate, channels, kind = file.samplerate, file.channels, file.format
        mono = _read_mono(file, job)
        is_short = file.frames > len(mono)
    if is_short or is_truncated(kind, data):
        raise RefusedError(Reason.RECORDING_TRUNCATED, f"the {kind} file ends before its audio does; upload all of it")
    if not np.isfinite(mono).all():
        raise RefusedError(Reason.RECORDING_NOT_FINITE, "the recording has samples that are NaN or infinite")
    seconds = len(mono) / rate
    if seconds < job.min_seconds:
        raise RefusedError(Reason.RECORDING_TOO_SHORT, f"the recording lasts {seconds:.2f} s; {_allowed_seconds(job)}")
    used = mono[: int(job.used_seconds * rate)]
    if float(np.abs(used).max()) < SILENT_PEAK:
        raise RefusedError(
            Reason.RECORDING_SILENT, "the part of the recording that is used is silent; its peak is below -60 dB"
        )
    facts = {
        "duration_seconds": seconds,
        "used_seconds": min(seconds, job.used_seconds),
        "sample_rate_hz": rate,
        "channels": channels,
        "warnings": warnings_of(used, rate, seconds=seconds, used_seconds=job.used_seconds),
    }
    return facts, [_resampled(mono, rate, wanted, job.used_seconds) for wanted in job.rates]


def _open(data: bytes) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(io.BytesIO(data))
    except soundfile.SoundFileError as error:
        raise RefusedError(
            Reason.RECORDING_NOT_AUDIO, "this is no audio file; WAV, FLAC, MP3 and Ogg are allowed"
        ) from error


def _check_format(file: soundfile.SoundFile, job: Job) -> None:
    if file.format not in FORMATS:
        raise RefusedError(
            Reason.RECORDING_NOT_AUDIO, f"the format is {file.format}; WAV, FLAC, MP3 and Ogg are allowed"
        )
    if not job.min_rate_hz <= file.samplerate <= job.max_rate_hz:
        raise RefusedError(
            Reason.RECORDING_BAD_RATE,
            f"the sample rate is {file.samplerate} Hz; {job.min_rate_hz} to {job.max_rate_hz} are allowed",
        )
    if not 1 <= file.channels <= job.max_channels:
        raise RefusedError(
            Reason.RECORDING_BAD_CHANNELS, f"there are {file.channels} channels; 1 to {job.max_channels} are allowed"
        )


def _read_mono(file: soundfile.SoundFile, job: Job) -> Samples:
    """Read a second at a time: what a header promises is not believed, and channels are never kept."""
    blocks: list[Samples] = []
    num_frames = 0
    while True:
        try:
            block = file.read(file.samplerate, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise RefusedError(Reason.RECORDING_TRUNCATED, "the audio is damaged or cut off") from error
        if not len(block):
            break
        blocks.append(block.mean(axis=1, dtype=np.float32))
        num_frames += len(block)
        if num_frames > job.max_seconds * file.samplerate:
            seconds = max(file.frames, num_frames) / file.samplerate
            raise RefusedError(
                Reason.RECORDING_TOO_LONG, f"the recording lasts {seconds:.0f} s; {_allowed_seconds(job)}"
            )
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _resampled(mono: Samples, rate: int, wanted: int, used_seconds: float) -> Samples:
    if wanted == rate:
        audio = mono
    else:
        audio = soxr.resample(mono, rate, wanted, quality="HQ")
        # As librosa does, whose length the published features depend on.
        length = int(np.ceil(len(mono) * wanted / rate))
        audio = np.pad(audio[:length], (0, max(length - len(audio), 0)))
    return np.ascontiguousarray(audio[: int(used_seconds * wanted)], dtype=np.float32)


def _allowed_seconds(job: Job) -> str:
    return f"{job.min_seconds:g} to {job.max_seconds:g} s are allowed"


def main() -> int:
    job_data = json.loads(sys.argv[1])
    limit_process(job_data.pop("memory_bytes"), job_data.pop("cpu_seconds"))
    job = Job(**{**job_data, "rates": tuple(job_data["rates"])})
    arrays: list[Samples] = []
    try:
        facts, arrays = decode(sys.stdin.buffer.read(), job)
        answer = {**facts, "lengths": [len(array) for array in arrays]}
    except RefusedError as refusal:
        answer = {"reason": refusal.reason, "message": str(refusal)}
    except MemoryError:
        answer = {"reason": Reason.RECORDING_TOO_COSTLY, "message": "the recording takes too much memory to decode"}
    out = sys.stdout.buffer
    out.write(json.dumps(answer).encode() + b"\n")
    for array in arrays:
        out.write(array.astype("<f4", copy=False).tobytes())
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
