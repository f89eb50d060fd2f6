"""How fast a server speaks: to one listener, and to several at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from triptych.async_client import AsyncClient
from triptych.errors import IoError, QosError
from triptych.models import Model
from triptych.options import Options
from triptych.playback import PREBUFFER_MS

SENTENCES = (
    "The first light of the morning came over the hills, and the whole valley began to sing.",
    "Please leave your coat by the door and come in.",
    "She opened the window, looked at the garden for a while, and closed it again without saying a word.",
    "Nobody had expected that the small boat would come back before the storm was over.",
)
_WARM_UP = "Good morning."
_PAUSE_SECONDS = 0.1
"""After a refusal that says no time."""

Progress = Callable[[int, float], None]
"""Told how many streams speak now and which share of the time is over."""


@dataclass(frozen=True)
class Plan:
    """What to measure; the time includes a first sentence that does not count."""

    seconds: float = 60.0
    streams: tuple[int, ...] = (1, 2, 4)
    """How many speak at once, one number after the other."""
    sentences: tuple[str, ...] = SENTENCES
    prebuffer_ms: int = PREBUFFER_MS
    """Of the listener whose underruns are counted."""


@dataclass(frozen=True)
class Load:
    """What so many streams at once got."""

    streams: int
    requests: int
    cut: int
    """Requests among them that were not over when the time was; what came of them counts."""
    unheard: int
    """Requests among the cut of which nothing had come: they are in no percentile."""
    failed: int
    """Requests that were refused or lost."""
    first_audio_p50_ms: float | None
    first_audio_p95_ms: float | None
    """None when nothing came."""
    real_time_factor: float | None
    """Seconds that a finished request takes for a second of speech; below 1 is faster than it is heard. None when none
    was finished."""
    underruns: int
    """Gaps that listeners would have heard."""
    audio_seconds: float
    wall_seconds: float

    @property
    def throughput(self) -> float:
        """Seconds of speech made in a second."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and of what."""

    model: str
    model_revision: str
    devices: dict[str, str]
    """Where each stage runs."""
    seconds: float
    """How long it took in all."""
    loads: tuple[Load, ...]


@dataclass
class _Request:
    """One request, as its listener saw it; times in seconds since it was made."""

    arrivals: list[tuple[float, float]] = field(default_factory=list)
    """When each piece came, and how long it sounds."""
    end_seconds: float = 0.0
    is_over: bool = False
    has_failed: bool = False


async def run_benchmark(
    client: AsyncClient, plan: Plan | None = None, *, on_progress: Progress | None = None, **options: object
) -> Benchmark:
    """Speak for as long as the plan says.

    Args:
        client: Connected to the server.
        plan: What to measure.
        on_progress: Told from time to time how far it is.
        **options: `Options` of every request.

    Raises:
        TtsError: if the first sentence fails, or a request does for another reason than load.
    """
    plan = plan or Plan()
    given: Options = options  # type: ignore[assignment]
    started = monotonic()
    model = await client.model(given.get("model") or "")
    async with asyncio.timeout(plan.seconds):
        await client.synthesize(_WARM_UP, **given)
    loads = []
    for done, streams in enumerate(plan.streams):
        left = max(0.0, started + plan.seconds - monotonic())
        share = left / (len(plan.streams) - done)
        report = _progress_of(on_progress, streams, plan, started)
        loads.append(await _Measurement(client, plan, given, report).run(streams, share))
    return Benchmark(model.name, model.revision, _devices(model), monotonic() - started, tuple(loads))


class _Measurement:
    """Several streams at once, each one sentence after the other."""

    def __init__(self, client: AsyncClient, plan: Plan, options: Options, report: Callable[[], None]) -> None:
        self._client = client
        self._plan = plan
        self._options = options
        self._report = report
        self._requests: list[_Request] = []

    async def run(self, streams: int, seconds: float) -> Load:
        started = monotonic()
        speakers = [asyncio.ensure_future(self._speak(number)) for number in range(streams)]
        try:
            await asyncio.wait(speakers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            wall_seconds = monotonic() - started
            for speaker in speakers:
                speaker.cancel()
            results = await asyncio.gather(*speakers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return load_of(streams, self._requests, wall_seconds, self._plan.prebuffer_ms / 1000)

    async def _speak(self, number: int) -> None:
        for sentence in _from(self._plan.sentences, number):
            request = _Request()
            self._requests.append(request)
            try:
                await self._listen(sentence, request)
            except (QosError, IoError) as error:
                request.has_failed = True
                await asyncio.sleep(error.retry_after_seconds or _PAUSE_SECONDS)

    async def _listen(self, sentence: str, request: _Request) -> None:
        started = monotonic()
        try:
            async with self._client.synthesize_stream(sentence, **self._options) as stream:
                async for audio in stream:
                    request.arrivals.append((monotonic() - started, audio.duration_seconds))
                    self._report()
            request.is_over = True
        finally:
            request.end_seconds = monotonic() - started


def load_of(streams: int, requests: Sequence[_Request], wall_seconds: float, prebuffer_seconds: float) -> Load:
    """Sum up the requests that so many streams made."""
    heard = [request for request in requests if request.arrivals]
    cut = [request for request in requests if not request.is_over and not request.has_failed]
    firsts = [1000 * request.arrivals[0][0] for request in heard]
    finished = [request for request in heard if request.is_over]
    waited_seconds = sum(request.end_seconds for request in finished)
    finished_audio_seconds = _audio_seconds(finished)
    return Load(
        streams=streams,
        requests=len(requests),
        cut=len(cut),
        unheard=sum(not request.arrivals for request in cut),
        failed=sum(request.has_failed for request in requests),
        first_audio_p50_ms=float(np.percentile(firsts, 50)) if firsts else None,
        first_audio_p95_ms=float(np.percentile(firsts, 95)) if firsts else None,
        real_time_factor=waited_seconds / finished_audio_seconds if finished_audio_seconds else None,
        underruns=sum(count_underruns(request.arrivals, prebuffer_seconds) for request in heard),
        audio_seconds=_audio_seconds(heard),
        wall_seconds=wall_seconds,
    )


def _audio_seconds(requests: Sequence[_Request]) -> float:
    return sum(seconds for request in requests for _, seconds in request.arrivals)


def count_underruns(arrivals: Sequence[tuple[float, float]], prebuffer_seconds: float) -> int:
    """Return how often a listener waits after the first sound.

    He begins to play, and goes on after a gap, when `prebuffer_seconds` have come or everything has.

    Args:
        arrivals: When each piece came and how long it sounds, in seconds.
        prebuffer_seconds: As for `triptych.playback.Player`.
    """
    underruns, kept, ends = 0, 0.0, 0.0
    is_playing, has_sounded = False, False
    sounding = [(arrived, seconds) for arrived, seconds in arrivals if seconds > 0]
    for index, (arrived, seconds) in enumerate(sounding):
        if is_playing and arrived > ends:
            is_playing, kept = False, 0.0
        kept += seconds
        if is_playing:
            ends += seconds
        elif kept >= prebuffer_seconds or index == len(sounding) - 1:
            underruns += has_sounded
            is_playing, has_sounded = True, True
            ends = arrived + kept
    return underruns


def _progress_of(on_progress: Progress | None, streams: int, plan: Plan, started: float) -> Callable[[], None]:
    def report() -> None:
        if on_progress:
            on_progress(streams, min(1.0, (monotonic() - started) / plan.seconds))

    report()
    return report


def _from(sentences: Sequence[str], number: int) -> Iterator[str]:
    """Begin elsewhere in each stream, so that not all say the same at once."""
    return itertools.islice(itertools.cycle(sentences), number % len(sentences), None)


def _devices(model: Model) -> dict[str, str]:
    devices: dict[str, list[str]] = {}
    for stage in model.stages:
        devices.setdefault(stage.name, []).append(f"{stage.device} {stage.dtype}".strip())
    return {name: ", ".join(sorted(set(places))) for name, places in devices.items()}
