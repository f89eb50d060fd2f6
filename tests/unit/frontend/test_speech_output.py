"""Order, gaps and sample counting between the last stage and the client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DeadlineError
from services.frontend.speech_output import FinishReason, SpeechOutput, Spoken
from services.frontend.wakeup import Wakeup

GAP = 5


@dataclass(frozen=True)
class FakeSegment:
    index: int
    start: int = 0
    end: int = 0
    token_ids: tuple[int, ...] = ()


def output(*, lead_samples: int = 10_000, stall_seconds: float = 60.0, piece: int = 7) -> SpeechOutput:
    return SpeechOutput(
        Wakeup(),
        gap_samples=GAP,
        lead_samples=lead_samples,
        stall_seconds=stall_seconds,
        max_piece_samples=piece,
    )


def samples(index: int, length: int) -> bytes:
    return bytes([index + 1, 0]) * length


async def take_all(speech: SpeechOutput) -> list[Spoken]:
    taken = []
    while (spoken := await speech.take()) is not None:
        taken.append(spoken)
    return taken


@given(
    segments=st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=5),
    cancelled=st.sets(st.integers(0, 5)),
)
def test_samples_are_counted_without_hole_or_overlap(segments: list[list[int]], cancelled: set[int]) -> None:
    """Whatever the lengths, and whichever segments are dropped before they are heard."""

    async def speak() -> list[Spoken]:
        speech = output()
        for index, lengths in enumerate(segments):
            speech.begin(FakeSegment(index))
            for length in lengths:
                await speech.put(index, samples(index, length))
            if index in cancelled:
                speech.cancel(index)
            speech.finish(index, FinishReason.STOP)
        speech.close()
        return await take_all(speech)

    taken = asyncio.run(speak())
    totals = [sum(lengths) for lengths in segments]
    heard = [(index, total) for index, total in enumerate(totals) if total and index not in cancelled]
    expected = bytes(2 * GAP).join(samples(index, length) for index, length in heard)
    assert b"".join(spoken.pcm for spoken in taken) == expected
    at: int = 0
    for spoken in taken:
        assert spoken.start_sample == at
        at += len(spoken.pcm) // 2
    ends = [spoken.segment_end for spoken in taken if spoken.segment_end is not None]
    assert sorted(end.segment.index for end in ends) == list(range(len(segments)))
    assert sum(end.samples for end in ends) == at
    if heard:
        assert taken[0].pcm


async def test_segment_that_finishes_early_waits_for_its_turn() -> None:
    speech = output()
    for index in range(2):
        speech.begin(FakeSegment(index))
    speech.cancel(1)
    await speech.put(0, samples(0, 3))
    speech.finish(0, FinishReason.STOP)
    speech.close()

    assert [spoken.segment for spoken in await take_all(speech)] == [0, 1]


async def test_cancel_drops_what_the_client_has_not_taken() -> None:
    speech = output()
    speech.begin(FakeSegment(0))
    await speech.put(0, samples(0, 14))
    first = await speech.take()
    assert speech.cancel(0)
    speech.close()
    rest = await take_all(speech)

    assert first is not None
    assert len(first.pcm) == 14
    assert [spoken.pcm for spoken in rest] == [b""]
    assert rest[0].segment_end is not None
    assert rest[0].segment_end.finish_reason is FinishReason.CANCELLED
    assert rest[0].segment_end.samples == 7


async def test_unknown_and_finished_segments_are_left_alone() -> None:
    speech = output()
    speech.begin(FakeSegment(0))
    await speech.put(0, samples(0, 3))
    speech.finish(0, FinishReason.STOP)
    await speech.take()

    assert not speech.cancel(0)
    assert not speech.cancel(7)


async def test_stages_wait_while_the_client_is_behind() -> None:
    speech = output(lead_samples=10)
    speech.begin(FakeSegment(0))
    await speech.put(0, samples(0, 14))
    waiting = asyncio.create_task(speech.put(0, samples(0, 1)))
    await asyncio.sleep(0)
    assert not waiting.done()

    await speech.take()
    await waiting


async def test_client_that_takes_nothing_is_given_up() -> None:
    speech = output(lead_samples=1, stall_seconds=0.01)
    speech.begin(FakeSegment(0))
    await speech.put(0, samples(0, 2))

    with pytest.raises(DeadlineError) as failure:
        await speech.put(0, samples(0, 1))
    assert failure.value.reason == "CLIENT_STALLED"
