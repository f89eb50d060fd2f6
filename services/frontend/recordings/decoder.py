"""Recordings from outside, decoded in a child process with limits on its memory and time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from services.common.errors import InvalidRequestError, TooLargeError, kind_of
from services.common.reasons import Reason
from services.frontend.door import Door
from services.frontend.recordings.decode_job import Job, job_argument
from services.frontend.recordings.facts import RecordingFacts

logger = structlog.get_logger(__name__)

FIELD = "audio"
IMPORT_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class RecordingLimits:
    """What a recording may be, and what decoding it may cost."""

    max_bytes: int = 20_000_000
    min_seconds: float = 1.0
    max_seconds: float = 60.0
    used_seconds: float = 15.0
    min_rate_hz: int = 8_000
    max_rate_hz: int = 192_000
    max_channels: int = 8
    memory_bytes: int = 1 << 30
    decode_seconds: float = 20.0
    max_children: int = 2
    max_decodes: int = 32
    """Recordings that are decoded or wait for it."""
    max_uploads: int = 8
    upload_idle_seconds: float = 30.0
    """An upload that sends nothing for so long is ended."""


@dataclass(frozen=True)
class Recording:
    """A decoded recording: mono, in [-1, 1], at every rate that was asked for."""

    facts: RecordingFacts
    audio: dict[int, npt.NDArray[np.float32]]


class Decoder:
    """Starts one child for each recording, at most `max_children` at once."""

    def __init__(self, limits: RecordingLimits) -> None:
        self.limits = limits
        self._room = asyncio.Semaphore(limits.max_children)
        self._queue = Door(limits.max_decodes, "recordings")

    async def decode(self, data: bytes, rates: Sequence[int] = (), *, field_path: str = FIELD) -> Recording:
        """Decode a recording to mono float32 at these sample rates.

        Args:
            data: The file.
            rates: In Hz; none asks for the facts alone.
            field_path: Where the recording came from, for errors.

        Raises:
            InvalidRequestError: It is not audio, or not audio that a voice can be made of.
            TooLargeError: It has too many bytes or lasts too long.
            OverloadedError: Too many others wait already.
        """
        limits = self.limits
        if len(data) > limits.max_bytes:
            raise TooLargeError(
                f"the recording has {len(data)} bytes; at most {limits.max_bytes} are allowed", field=field_path
            )
        job = Job(
            rates=tuple(rates),
            used_seconds=limits.used_seconds,
            min_seconds=limits.min_seconds,
            max_seconds=limits.max_seconds,
            min_rate_hz=limits.min_rate_hz,
            max_rate_hz=limits.max_rate_hz,
            max_channels=limits.max_channels,
        )
        with self._queue.entered():
            async with self._room:
                answer = await self._run(job, data, field_path)
        return _recording(answer, job.rates, field_path)

    async def _run(self, job: Job, data: bytes, field_path: str) -> bytes:
        argument = job_argument(
            job, memory_bytes=self.limits.memory_bytes, cpu_seconds=max(int(self.limits.decode_seconds), 1)
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.frontend.recordings.decode_child",
            argument,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Nothing of this process's environment: the child handles files from outside.
            env={"PYTHONPATH": str(IMPORT_ROOT)},
        )
        try:
            async with asyncio.timeout(self.limits.decode_seconds):
                answer, _ = await child.communicate(data)
        except TimeoutError:
            raise _too_costly("time", field_path) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if child.returncode != 0:
            logger.warning("decode_child_failed", returncode=child.returncode, num_bytes=len(data))
            raise _too_costly("memory or time", field_path)
        return answer


def _too_costly(what: str, field_path: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the recording takes too much {what} to decode", field=field_path, reason=Reason.RECORDING_TOO_COSTLY
    )


def _recording(answer: bytes, rates: Sequence[int], field_path: str) -> Recording:
    line, _, body = answer.partition(b"\n")
    head = json.loads(line)
    if "reason" in head:
        reason = Reason(head["reason"])
        raise kind_of(reason)(head["message"], field=field_path, reason=reason)
    samples = np.frombuffer(body, dtype="<f4")
    ends = np.cumsum(head.pop("lengths"), dtype=int)[:-1]
    arrays = np.split(samples, ends) if rates else []
    return Recording(RecordingFacts.from_json(head), dict(zip(rates, arrays, strict=True)))
