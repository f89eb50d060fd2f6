"""Playback, on a device whose clock is the test's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych import Samples
from triptych.benchmark import count_underruns
from triptych.playback import Fill, PlaybackError, Player
from triptych.playback_buffer import PlaybackBuffer

RATE = 1000
"""A sample lasts a millisecond."""


class FakeDevice:
    """Plays when the test says so, and remembers what was heard."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.is_started = self.is_closed = False
        self._fill: Fill | None = None
        self._on_end: Callable[[], None] = lambda: None
        self.rate = 0

    def open(self, sample_rate_hz: int, fill: Fill, on_end: Callable[[], None]) -> FakeDevice:
        self.rate, self._fill, self._on_end = sample_rate_hz, fill, on_end
        return self

    def start(self) -> None:
        self.is_started = True

    def close(self) -> None:
        self.is_closed = True

    def play(self, milliseconds: int, *, was_late: bool = False) -> list[float]:
        """Let time pass; returns what is heard meanwhile."""
        assert self.is_started
        assert self._fill
        assert not self.is_closed
        out = np.full(milliseconds, np.nan, np.float32)
        is_more = self._fill(out, was_late)
        self.heard += out.tolist()
        if not is_more:
            self._on_end()
        return [float(value) for value in out]

    def fail(self) -> None:
        """Stop for good, as an unplugged card does."""
        self._on_end()


def sound(first: int, count: int) -> Samples:
    """Samples that say where they belong: none is silence."""
    return np.arange(first, first + count, dtype=np.float32)


@pytest.fixture
async def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
async def player(device: FakeDevice) -> Player:
    return Player(prebuffer_ms=100, device=device, stall_seconds=60)


async def test_nothing_sounds_before_the_prebuffer_is_there(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 99), RATE)
    assert device.rate == RATE
    assert device.play(50) == [0.0] * 50

    await player.play(sound(100, 1), RATE)
    assert device.play(60) == sound(1, 60).tolist()
    assert player.underruns == 0


async def test_a_short_speech_sounds_without_a_prebuffer(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 10), RATE)
    finishing = asyncio.ensure_future(player.finish())
    await asyncio.sleep(0)

    assert device.play(20) == sound(1, 10).tolist() + [0.0] * 10
    await finishing
    assert device.is_closed
    assert player.underruns == 0


async def test_gaps_are_counted_and_measured(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 100), RATE)
    device.play(130)
    device.play(20)
    await player.play(sound(101, 50), RATE)
    assert device.play(10) == [0.0] * 10, "after a gap the prebuffer fills again"
    await player.play(sound(151, 50), RATE)
    assert device.play(10) == sound(101, 10).tolist()

    assert player.underruns == 1
    assert player.silent_seconds == pytest.approx(0.06)


async def test_the_silence_after_the_end_is_no_gap(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 100), RATE)
    device.play(150)
    finishing = asyncio.ensure_future(player.finish())
    await asyncio.sleep(0)
    device.play(10)
    await finishing

    assert (player.underruns, player.silent_seconds) == (0, 0)


async def test_a_late_device_is_an_underrun(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 200), RATE)
    device.play(10, was_late=True)
    assert player.underruns == 0, "nothing had sounded yet"
    device.play(10, was_late=True)
    assert player.underruns == 1


async def test_the_end_is_heard_before_playback_is_finished(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 150), RATE)
    finishing = asyncio.ensure_future(player.finish())
    device.play(100)
    await asyncio.sleep(0)
    assert not finishing.done()
    device.play(50)
    await finishing

    assert device.heard == sound(1, 150).tolist()


async def test_a_cancelled_speech_is_silent_at_once(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 10_000), RATE)
    device.play(10)
    player.close()
    assert device.is_closed


async def test_whoever_is_far_ahead_waits(player: Player, device: FakeDevice) -> None:
    waiting = asyncio.ensure_future(player.play(sound(0, 31 * RATE), RATE))
    await asyncio.sleep(0)
    assert not waiting.done()
    device.play(500)
    device.play(500)
    await waiting


async def test_a_device_that_fails_is_named(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 200), RATE)
    device.play(10)
    device.fail()
    await asyncio.sleep(0)
    with pytest.raises(PlaybackError, match="stopped before the end"):
        await player.play(sound(201, 10), RATE)


async def test_a_device_that_fails_at_the_end_is_named(player: Player, device: FakeDevice) -> None:
    await player.play(sound(1, 200), RATE)
    finishing = asyncio.ensure_future(player.finish())
    device.fail()
    with pytest.raises(PlaybackError, match="stopped before the end"):
        await finishing


async def test_a_device_that_hangs_is_named(device: FakeDevice) -> None:
    player = Player(device=device, stall_seconds=0.01)
    await player.play(sound(1, 200), RATE)
    with pytest.raises(PlaybackError, match="taken nothing"):
        await player.finish()


@given(
    runs=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20),
    prebuffer=st.integers(0, 50),
)
def test_every_sample_is_heard_once_and_in_order(runs: list[tuple[int, int]], prebuffer: int) -> None:
    """Whatever comes between, and however long the card's blocks are; beside the samples there is silence."""
    buffer = PlaybackBuffer(prebuffer)
    heard: list[float] = []

    def play(milliseconds: int) -> bool:
        out = np.full(milliseconds, np.nan, np.float32)
        is_more = buffer.fill(out)
        heard.extend(out.tolist())
        return is_more

    brought = 1
    for samples, milliseconds in runs:
        buffer.put(sound(brought, samples))
        brought += samples
        play(milliseconds)
    buffer.end()
    while play(7):
        pass

    assert [value for value in heard if value] == sound(1, brought - 1).tolist()
    sounding = [index for index, value in enumerate(heard) if value]
    between = heard[sounding[0] : sounding[-1]] if sounding else []
    assert buffer.silent_samples == between.count(0.0)
    assert buffer.underruns == sum(following != before + 1 for before, following in itertools.pairwise(sounding))


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=12),
    prebuffer=st.integers(1, 50),
)
def test_a_benchmark_counts_what_a_player_would(arrivals: list[tuple[int, int]], prebuffer: int) -> None:
    """The formula over arrival times agrees with the buffer that is played sample by sample."""
    buffer = PlaybackBuffer(prebuffer)
    out = np.zeros(1, np.float32)
    times, now = [], 0
    last = max((index for index, (_, samples) in enumerate(arrivals) if samples), default=-1)
    for index, (wait, samples) in enumerate(arrivals):
        for _ in range(wait):
            buffer.fill(out)
        now += wait
        buffer.put(sound(1, samples))
        times.append((float(now), float(samples)))
        if index == last:
            buffer.end()
            break
    buffer.end()
    while buffer.fill(out):
        pass

    assert count_underruns(times, prebuffer) == buffer.underruns
