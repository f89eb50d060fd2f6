"""The three ways of asking: one call after the other, streams of listeners, and arrivals that wait for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from triptych import AsyncAudioStream, AsyncClient

from bench.load.arrivals import poisson
from bench.load.call import Call, CpuMeter, listen
from bench.load.playback import ends
from bench.load.setting import Setting
from bench.load.texts import SENTENCES

_SEEDS_PER_STREAM = 1000
_PAUSE_SECONDS = 0.1
"""After a refusal."""


class Pace(Enum):
    """When a stream asks for its next utterance."""

    HEARD = "heard"
    """When the last audio has been played: as a listener does, who hears one utterance right after the other."""
    RECEIVED = "received"
    """When the last audio has come: no listener does, but it saturates the system, whatever its lead."""


@dataclass(frozen=True)
class Load:
    """What one load got."""

    calls: Sequence[Call]
    seconds: float
    """From its start until its last call was over."""
    streams: Sequence[Sequence[Call]] = ()
    """The same calls by stream; empty where there are none."""

    @property
    def throughput(self) -> float:
        """Seconds of speech made in a second."""
        return sum(call.audio_seconds for call in self.calls) / self.seconds


class Caller:
    """Makes the calls of one run on one connection.

    Args:
        client: Connected, without retries: a refusal is a result here.
        seed: Of the first utterance; those that follow have others. The same for every setting, so that what is
            compared says the same.
        meter: Of the system's processes; read around calls that are alone.
    """

    def __init__(self, client: AsyncClient, *, seed: int, meter: CpuMeter) -> None:
        self._client = client
        self._seed = seed
        self._meter = meter

    async def warm_up(self, setting: Setting) -> None:
        """Have the voice, the caches and the kernels ready.

        Raises:
            TtsError: The setting cannot be served.
        """
        await self._client.synthesize(SENTENCES[0], **setting.options(self._seed))

    async def _listen(self, text: str, setting: Setting, number: int, meter: CpuMeter = dict) -> Call:
        seed = self._seed + number
        stream: AsyncAudioStream = self._client.synthesize_stream(text, **setting.options(seed))
        return await listen(stream, len(text), monotonic, meter, seed=seed)

    async def in_turn(self, texts: Sequence[str], settings: Sequence[Setting]) -> list[list[Call]]:
        """Say each text under each setting in turn, one call at a time; returns the calls by setting."""
        found: list[list[Call]] = [[] for _ in settings]
        for number, text in enumerate(texts):
            for calls, setting in zip(found, settings, strict=True):
                calls.append(await self._listen(text, setting, number, self._meter))
        return found

    async def streams(self, count: int, seconds: float, setting: Setting, pace: Pace) -> Load:
        """Have so many listeners at once, each with one utterance after the other for so long."""
        started = monotonic()
        work = [self._stream(number, started + seconds, setting, pace) for number in range(count)]
        streams = await asyncio.gather(*work)
        return Load([call for calls in streams for call in calls], monotonic() - started, streams)

    async def _stream(self, stream: int, until: float, setting: Setting, pace: Pace) -> list[Call]:
        calls: list[Call] = []
        while monotonic() < until:
            # Each stream begins elsewhere, so that not all say the same at once.
            text = SENTENCES[(stream + len(calls)) % len(SENTENCES)]
            number = stream * _SEEDS_PER_STREAM + len(calls)
            call = await self._listen(text, setting, number)
            calls.append(call)
            if call.failure:
                await asyncio.sleep(_PAUSE_SECONDS)
            elif pace is Pace.HEARD:
                await asyncio.sleep(max(0.0, ends(call.pieces) - monotonic()))
        return calls

    async def arrivals(self, rate_per_second: float, seconds: float, setting: Setting) -> Load:
        """Make calls at times of a Poisson process, however many are in work."""
        started = monotonic()
        times = poisson(rate_per_second, seconds, seed=self._seed)
        calls = await asyncio.gather(*(self._arrive(started + at, number, setting) for number, at in enumerate(times)))
        return Load(calls, monotonic() - started)

    async def _arrive(self, at: float, number: int, setting: Setting) -> Call:
        await asyncio.sleep(max(0.0, at - monotonic()))
        text = SENTENCES[number % len(SENTENCES)]
        return await self._listen(text, setting, number)
