"""What each message says: where its samples are, whose they are, and what ended in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.frontend.audio import AudioFormat, Encoding
from services.frontend.audio.encoding import MAX_AUDIO_BYTES
from services.frontend.audio.resampling import position_at
from services.frontend.speaking.packets import Packet, Packets
from services.frontend.speaking.speech_output import FinishReason, SpeechOutput
from services.frontend.text import Segment
from services.frontend.wakeup import Wakeup

RATE = 22_050
GAP, TAIL = 500, 700


def spoken_packets(
    lengths: Sequence[int], audio: AudioFormat, *, piece: int = 1000, tail: int = TAIL, level: int = 9000
) -> list[Packet]:
    """The packets of segments of so many samples; those of no samples are never heard."""

    async def speak() -> list[Packet]:
        speech = SpeechOutput(
            Wakeup(),
            gap_samples=GAP,
            lead_samples=10**9,
            tail_samples=tail,
            fade_samples=RATE * 5 // 1000,
            max_piece_samples=piece,
        )
        for index, length in enumerate(lengths):
            speech.begin(Segment(index, text="", start=index, end=index + 1, tokens=()))
            await speech.put(index, np.full(length, level + index, np.int16))
            speech.finish(index, FinishReason.STOP)
        speech.close()
        packets = Packets(audio, RATE)
        made = []
        while (spoken := await speech.take()) is not None:
            made += list(packets.push(spoken))
        return [*made, *packets.finish()]

    return asyncio.run(speak())


def model_samples(lengths: Sequence[int], tail: int = TAIL) -> int:
    heard = [length for length in lengths if length]
    return sum(heard) + GAP * (len(heard) - 1) + tail if heard else 0


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=5),
    rate=st.sampled_from([8_000, 22_050, 48_000]),
    chunk_ms=st.sampled_from([0, 20, 40, 100]),
    piece=st.integers(50, 4000),
)
def test_packets_are_contiguous_and_account_for_every_sample(
    lengths: list[int], rate: int, chunk_ms: int, piece: int
) -> None:
    audio = AudioFormat(Encoding.LINEAR16, rate, chunk_ms=chunk_ms)
    packets = spoken_packets(lengths, audio, piece=piece)
    total = position_at(model_samples(lengths), RATE, rate)

    at: int = 0
    for packet in packets:
        assert packet.start_sample == at
        assert len(packet.audio) == 2 * packet.num_samples
        at += packet.num_samples
    assert at == total
    assert [packet.is_last for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert all(packet.num_samples for packet in packets[:-1])
    ends = [ended for packet in packets for ended in packet.segment_ends]
    assert [ended.spoken.segment.index for ended in ends] == list(range(len(lengths)))
    tail = total - position_at(model_samples(lengths, 0), RATE, rate)
    assert sum(ended.num_samples for ended in ends) + tail == total


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    rate=st.sampled_from([8_000, 22_050, 48_000]),
    chunk_ms=st.sampled_from([0, 20, 40]),
)
def test_each_packet_names_the_segment_of_its_first_sample_and_those_that_end_in_it(
    lengths: list[int], rate: int, chunk_ms: int
) -> None:
    packets = spoken_packets(lengths, AudioFormat(Encoding.LINEAR16, rate, chunk_ms=chunk_ms))
    owner: list[int] = []
    for packet in packets:
        for ended in packet.segment_ends:
            owner += [ended.spoken.segment.index] * ended.num_samples
    for packet in packets:
        end = packet.start_sample + packet.num_samples
        named = packet.segment.segment.index if packet.segment is not None else None
        # Silence after the last segment goes under the last one that was heard.
        last = owner[-1] if owner else None
        assert named == (owner[packet.start_sample] if packet.start_sample < len(owner) else last)
        ending = [ended.spoken.segment.index for ended in packet.segment_ends if ended.num_samples]
        inside = range(packet.start_sample, min(end, len(owner)))
        assert ending == [owner[at] for at in inside if at + 1 == len(owner) or owner[at + 1] != owner[at]]


@pytest.mark.parametrize("chunk_ms", [20, 40, 100])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_every_packet_but_the_last_has_the_length_that_was_asked_for(rate: int, chunk_ms: int) -> None:
    packets = spoken_packets([9000, 4000], AudioFormat(Encoding.LINEAR16, rate, chunk_ms=chunk_ms))

    assert {packet.num_samples for packet in packets[:-1]} == {round(rate * chunk_ms / 1000)}
    assert packets[-1].num_samples <= round(rate * chunk_ms / 1000)


def test_speech_of_whole_chunks_ends_with_one_that_is_empty() -> None:
    packets = spoken_packets([882 * 3], AudioFormat(Encoding.LINEAR16, RATE), tail=0)

    assert [packet.num_samples for packet in packets] == [882, 882, 882, 0]
    assert packets[-1].segment is not None


@pytest.mark.parametrize("encoding", Encoding)
def test_what_is_rendered_at_once_still_leaves_in_small_messages(encoding: Encoding) -> None:
    packets = spoken_packets([80_000], AudioFormat(encoding, 48_000, chunk_ms=0), piece=80_000)

    assert max(len(packet.audio) for packet in packets) <= MAX_AUDIO_BYTES
    assert sum(packet.num_samples for packet in packets) == position_at(80_000 + TAIL, RATE, 48_000)


def test_nothing_heard_is_one_last_packet_without_audio() -> None:
    (packet,) = spoken_packets([0, 0], AudioFormat(Encoding.LINEAR16, 8_000))

    assert (packet.num_samples, packet.segment, packet.is_last) == (0, None, True)
    assert [ended.num_samples for ended in packet.segment_ends] == [0, 0]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_speech_ends_in_silence_and_without_a_click_at_any_rate(rate: int) -> None:
    """The last 5 ms fall no faster than a raised cosine does, give or take the resampler's ripple."""
    level = 16_000
    packets = spoken_packets([6000], AudioFormat(Encoding.LINEAR16, rate), tail=0, level=level)
    made = np.frombuffer(b"".join(packet.audio for packet in packets), "<i2").astype(np.int32)
    fade = rate * 5 // 1000
    ending = np.append(made[-2 * fade :], 0)

    assert abs(made[-1]) < 0.005 * level
    assert np.abs(np.diff(ending)).max() < 1.1 * np.pi / 2 * level / fade
