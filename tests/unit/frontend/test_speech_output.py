"""Order, gaps, soft ends and sample counting between the last stage and the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DeadlineError
from services.frontend.audio.fade import faded
from services.frontend.audio.pcm import Samples
from services.frontend.speaking.speech_output import FinishReason, SpeechOutput, Spoken
from services.frontend.text import Segment
from services.frontend.wakeup import Wakeup

GAP = 5
TAIL = 9
FADE = 4
LOUD = 20_000


def segment(index: int) -> Segment:
    return Segment(index, text="", start=0, end=0, tokens=())


def output(
    *, lead_samples: int = 10_000, stall_seconds: float = 60.0, piece: int = 7, fade: int = 0, tail: int = 0
) -> SpeechOutput:
    return SpeechOutput(
        Wakeup(),
        gap_samples=GAP,
        lead_samples=lead_samples,
        tail_samples=tail,
        fade_samples=fade,
        stall_seconds=stall_seconds,
        max_piece_samples=piece,
    )


def samples(index: int, length: int) -> Samples:
    return np.full(length, LOUD + index, np.int16)


def soft(index: int, length: int) -> Samples:
    """All of a segment, with its end as it is heard."""
    steady = max(length - FADE, 0)
    return np.concatenate([samples(index, steady), faded(samples(index, length - steady))])


async def take_all(speech: SpeechOutput) -> list[Spoken]:
    taken = []
    while (spoken := await speech.take()) is not None:
        taken.append(spoken)
    return taken


def joined(taken: list[Spoken]) -> list[int]:
    return [int(sample) for spoken in taken for sample in spoken.samples]


@given(
    segments=st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=5),
    cancelled=st.sets(st.integers(0, 5)),
    tail=st.sampled_from([0, TAIL]),
)
def test_samples_are_counted_without_hole_or_overlap(segments: list[list[int]], cancelled: set[int], tail: int) -> None:
    """Whatever the lengths, and whichever segments are dropped before they are heard."""

    async def speak() -> list[Spoken]:
        speech = output(fade=FADE, tail=tail)
        for index, lengths in enumerate(segments):
            speech.begin(segment(index))
            for length in lengths:
                await speech.put(index, samples(index, length))
            if index in cancelled:
                speech.cancel(index)
            speech.finish(index, FinishReason.STOP)
        speech.close()
        return await take_all(speech)

    taken = asyncio.run(speak())
    totals = [sum(lengths) for lengths in segments]
    expected: list[int] = []
    for index, total in enumerate(totals):
        if total and index not in cancelled:
            expected += [*([0] * GAP if expected else []), *soft(index, total).tolist()]
    assert joined(taken) == expected + ([0] * tail if expected else [])
    at: int = 0
    for spoken in taken:
        assert spoken.start_sample == at
        at += len(spoken.samples)
    ends = [spoken.segment for spoken in taken if spoken.is_segment_end]
    assert [end.segment.index for end in ends if end is not None] == list(range(len(segments)))
    assert sum(end.samples for end in ends if end is not None) == len(expected)
    assert not any(spoken.is_segment_end for spoken in taken if spoken.segment is None)


async def test_segment_that_finishes_early_waits_for_its_turn() -> None:
    speech = output()
    for index in range(2):
        speech.begin(segment(index))
    speech.cancel(1)
    await speech.put(0, samples(0, 3))
    speech.finish(0, FinishReason.STOP)
    speech.close()

    heard = [spoken.segment for spoken in await take_all(speech) if spoken.segment is not None]
    assert [each.segment.index for each in heard] == [0, 1]


@pytest.mark.parametrize("more", [0, 1, 30])
async def test_cancelled_segment_fades_where_it_was_and_sends_no_more(more: int) -> None:
    """Wherever the client is, and however much of the segment is there already."""
    speech = output(fade=FADE)
    speech.begin(segment(0))
    await speech.put(0, samples(0, 7 + FADE))
    first = await speech.take()
    await speech.put(0, samples(0, more))
    assert speech.cancel(0)
    await speech.put(0, samples(0, 30))
    speech.finish(0, FinishReason.STOP)
    speech.close()
    rest = await take_all(speech)

    assert first is not None
    assert joined([first]) == [LOUD] * 7
    assert joined(rest) == faded(samples(0, FADE)).tolist()
    assert rest[-1].is_segment_end
    ended = rest[-1].segment
    assert ended is not None
    assert ended.finish_reason is FinishReason.CANCELLED
    assert ended.samples == 7 + FADE


async def test_segment_that_was_made_but_not_heard_is_dropped_without_a_sound() -> None:
    speech = output(fade=FADE)
    speech.begin(segment(0))
    await speech.put(0, samples(0, 20))
    speech.finish(0, FinishReason.STOP)
    assert speech.cancel(0)
    speech.close()
    taken = await take_all(speech)

    assert joined(taken) == []
    assert [spoken.is_segment_end for spoken in taken] == [True]


async def test_end_that_is_fading_already_is_left_alone() -> None:
    speech = output(fade=FADE)
    speech.begin(segment(0))
    await speech.put(0, samples(0, 7 + FADE))
    speech.finish(0, FinishReason.STOP)
    await speech.take()

    assert not speech.cancel(0)


async def test_end_waits_for_its_fade_and_no_longer() -> None:
    speech = output(fade=FADE)
    speech.begin(segment(0))
    await speech.put(0, samples(0, FADE))
    waiting = asyncio.create_task(speech.take())
    await asyncio.sleep(0)
    assert not waiting.done()

    speech.finish(0, FinishReason.STOP)
    assert joined([await _taken(waiting)]) == faded(samples(0, FADE)).tolist()


async def test_stages_never_wait_for_a_client_that_waits_for_them() -> None:
    """What is held for the fade is not counted: it cannot be taken."""
    speech = output(fade=FADE, lead_samples=1)
    speech.begin(segment(0))
    await speech.put(0, samples(0, FADE))
    assert speech.has_room
    await speech.put(0, samples(0, 1))
    assert not speech.has_room
    assert joined([await _taken(speech.take())]) == [LOUD]
    assert speech.has_room


async def test_unknown_and_finished_segments_are_left_alone() -> None:
    speech = output()
    speech.begin(segment(0))
    await speech.put(0, samples(0, 3))
    speech.finish(0, FinishReason.STOP)
    await speech.take()

    assert not speech.cancel(0)
    assert not speech.cancel(7)


async def test_stages_wait_while_the_client_is_behind() -> None:
    speech = output(lead_samples=10)
    speech.begin(segment(0))
    await speech.put(0, samples(0, 14))
    waiting = asyncio.create_task(speech.put(0, samples(0, 1)))
    await asyncio.sleep(0)
    assert not waiting.done()

    await speech.take()
    await waiting


async def test_client_that_takes_nothing_is_given_up() -> None:
    speech = output(lead_samples=1, stall_seconds=0.01)
    speech.begin(segment(0))
    await speech.put(0, samples(0, 2))

    with pytest.raises(DeadlineError) as failure:
        await speech.put(0, samples(0, 1))
    assert failure.value.reason == "CLIENT_STALLED"


async def _taken(work: Awaitable[Spoken | None]) -> Spoken:
    spoken = await work
    assert spoken is not None
    return spoken
