"""The cost model: when packets are there, and how many streams a core carries without a gap."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quality import playback
from bench.quality.material import Voice
from bench.quality.rendering import Packet
from tests.unit.quality.walking_engines import speech_of

RATE_HZ = 100


def packets_of(seconds: list[float]) -> list[Packet]:
    """Packets of so many seconds, one after another."""
    starts = [round(RATE_HZ * sum(seconds[:number])) for number in range(len(seconds))]
    return [Packet(start, round(RATE_HZ * length), 1, 0.0) for start, length in zip(starts, seconds, strict=True)]


def test_a_packet_is_ready_after_prefill_codes_and_rendering(voice: Voice) -> None:
    packets = [Packet(0, 100, 10, 2.0), Packet(100, 100, 20, 3.0)]

    assert playback.ready_times(speech_of(voice, 20), packets) == [1 + 5 + 2, 1 + 10 + 3]


def test_the_packet_that_comes_last_for_its_place_decides() -> None:
    packets = packets_of([1.0, 1.0, 1.0])

    assert playback.streams_without_gap(packets, [5.0, 5.25, 5.5], RATE_HZ) == 4
    assert playback.streams_without_gap(packets, [5.0, 6.0, 6.1], RATE_HZ) == 1
    assert playback.streams_without_gap(packets, [5.0, 5.1, 9.0], RATE_HZ) == 0.5


def test_what_comes_with_the_first_packet_cannot_starve() -> None:
    assert playback.streams_without_gap(packets_of([1.0]), [3.0], RATE_HZ) == math.inf
    assert playback.streams_without_gap(packets_of([1.0, 1.0]), [3.0, 3.0], RATE_HZ) == math.inf


def test_a_first_packet_of_less_than_40_ms_is_no_first_audio() -> None:
    packets = packets_of([0.03, 0.03, 1.0])

    assert playback.first_heard(packets, RATE_HZ) == 1
    assert playback.streams_without_gap(packets, [1.0, 2.0, 2.03], RATE_HZ) == pytest.approx(2)


def test_very_short_speech_begins_with_all_of_it() -> None:
    assert playback.first_heard(packets_of([0.01, 0.02]), RATE_HZ) == 1


@given(st.lists(st.tuples(st.integers(4, 300), st.floats(0.01, 3)), min_size=2, max_size=12), st.floats(0.1, 0.99))
def test_fewer_streams_play_without_a_gap_and_more_do_not(pieces: list[tuple[int, float]], share: float) -> None:
    packets = packets_of([length / RATE_HZ for length, _ in pieces])
    ready = [sum(cost for _, cost in pieces[: number + 1]) for number in range(len(pieces))]
    most = playback.streams_without_gap(packets, ready, RATE_HZ)

    assert not has_gap(packets, [most * share * time for time in ready])
    assert has_gap(packets, [most / share * time for time in ready])


def has_gap(packets: list[Packet], arrivals: list[float]) -> bool:
    """Play the packets in real time, from the first on."""
    return any(
        arrival > arrivals[0] + packet.start / RATE_HZ for packet, arrival in zip(packets, arrivals, strict=True)
    )


def test_the_real_time_factor_is_all_work_over_all_sound() -> None:
    assert playback.real_time_factor(packets_of([1.0, 3.0]), [1.0, 2.0], RATE_HZ) == pytest.approx(0.5)
