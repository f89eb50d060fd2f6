"""Speech through all four processes: the same again, the same beside others, and different where it should be.

The first two tests take the model's own number of steps; the others take few, which show as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from triptych import AsyncClient, CancelSegment, Emotion, Flush, Piece, Render, Sampling, Speech

from tests.system.conftest import LONG_TEXT, QUICK, TEXT

SHORT = Sampling(max_codes=25)
"""Cuts every segment after a second, where its end does not matter."""


async def pieces_of(*pieces: Piece) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def test_the_same_request_gives_the_same_samples(client: AsyncClient) -> None:
    one = await client.synthesize(TEXT, seed=7)
    two = await client.synthesize(TEXT, seed=7)

    assert np.array_equal(one.samples, two.samples)
    assert one.samples.std() > 1e-3
    assert one.utterance.utterance_id != two.utterance.utterance_id


async def test_unary_and_stream_give_the_same_samples(client: AsyncClient) -> None:
    whole = await client.synthesize(LONG_TEXT, seed=3)
    chunks = [chunk async for chunk in client.synthesize_stream(LONG_TEXT, seed=3)]

    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole.samples)
    assert len(chunks) > 2
    assert len(chunks[0].samples) > 0, "the first message carries audio"
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    starts = np.cumsum([0, *(len(chunk.samples) for chunk in chunks[:-1])])
    assert [chunk.start_sample for chunk in chunks] == starts.tolist()
    assert chunks[0].utterance is not None
    assert chunks[0].utterance.seed == 3
    assert chunks[-1].is_last
    assert chunks[-1].timings is not None
    assert set(chunks[-1].timings.compute_ms) == {"gpt", "s2mel", "vocoder"}


async def test_company_changes_nothing(client: AsyncClient) -> None:
    """Alone or beside two others: bit for bit the same."""
    alone = await client.synthesize(TEXT, seed=11, render=QUICK)
    together = await asyncio.gather(
        client.synthesize(TEXT, seed=11, render=QUICK),
        client.synthesize(LONG_TEXT, seed=1, render=QUICK),
        client.synthesize(TEXT, seed=2, render=QUICK),
    )

    assert together[0].segments == alone.segments
    assert np.array_equal(together[0].samples, alone.samples)


async def test_a_seed_that_was_drawn_makes_the_speech_again(client: AsyncClient) -> None:
    drawn = await client.synthesize(TEXT, render=QUICK, sampling=SHORT)
    again = await client.synthesize(TEXT, seed=drawn.utterance.seed, render=QUICK, sampling=SHORT)
    other = await client.synthesize(TEXT, render=QUICK, sampling=SHORT)

    assert np.array_equal(again.samples, drawn.samples)
    assert other.utterance.seed != drawn.utterance.seed


async def test_every_option_is_heard(client: AsyncClient) -> None:
    """What a second recording changes is shown on the GPT's own output, where small changes are seen."""
    first, second, *_ = [voice.name for voice in await client.voices.list()]

    async def speak(text: str = TEXT, voice: str = first, seed: int = 5, render: Render = QUICK, **more: Any) -> Speech:
        return await client.synthesize(text, voice=voice, seed=seed, render=render, **more)

    reference = await speak()
    changed = {
        "seed": await speak(seed=6),
        "text": await speak("Something else."),
        "voice": await speak(voice=second),
        "emotion vector": await speak(emotion={"happy": 1.0}),
        "emotion weight": await speak(emotion=Emotion(strengths={"happy": 1.0}, weight=0.3)),
        "temperature": await speak(sampling=Sampling(temperature=2.0)),
        "greedy": await speak(sampling=Sampling(is_greedy=True)),
        "steps": await speak(render=Render(steps=3)),
        "cfg_rate": await speak(render=replace(QUICK, cfg_rate=0.7)),
        "whole": await speak(render=replace(QUICK, policy="whole")),
        "compat": await speak(render=replace(QUICK, policy="compat")),
    }
    for what, speech in changed.items():
        assert not np.array_equal(speech.samples, reference.samples), f"{what} changes nothing"
        assert speech.samples.std() > 1e-3
    assert not np.array_equal(changed["emotion weight"].samples, changed["emotion vector"].samples)
    assert (await speak(emotion=Emotion(voice=second, weight=0.5))).samples.size


async def test_a_limit_of_tokens_makes_more_segments(client: AsyncClient) -> None:
    free = await client.synthesize(LONG_TEXT, seed=1, render=QUICK, sampling=SHORT)
    limited = await client.synthesize(LONG_TEXT, seed=1, render=QUICK, sampling=SHORT, max_segment_tokens=20)

    assert len(free.segments) == 1
    assert free.segments[0].text_tokens > 20
    assert len(limited.segments) > 1
    assert all(segment.text_tokens <= 20 for segment in limited.segments)
    assert limited.segments[-1].text_span.end == len(LONG_TEXT)
    assert not np.array_equal(limited.samples, free.samples)


async def test_the_limit_of_codes_is_said(client: AsyncClient) -> None:
    speech = await client.synthesize(LONG_TEXT, seed=1, sampling=Sampling(max_codes=20), render=QUICK)

    assert {segment.finish_reason for segment in speech.segments} == {"max_codes"}
    assert all(segment.codes == 20 for segment in speech.segments)


async def test_segments_cover_the_text_and_are_joined_by_silence(client: AsyncClient) -> None:
    text = "This is the first sentence of two, and it is long enough. This is the second one, which is long too."
    joined = await client.synthesize(text, seed=1, render=QUICK, sampling=SHORT, segment_gap_ms=500)
    close = await client.synthesize(text, seed=1, render=QUICK, sampling=SHORT, segment_gap_ms=0)

    assert [segment.index for segment in joined.segments] == [0, 1]
    assert joined.segments[0].text_span.start == 0
    assert joined.segments[-1].text_span.end == len(text)
    assert len(joined.samples) - len(close.samples) == joined.sample_rate_hz // 2


async def test_text_in_pieces_gives_the_speech_of_the_text(client: AsyncClient) -> None:
    """Segments are a function of the text alone, however it is cut into messages."""
    text = "This is the first sentence of two, and it is long enough. This is the second one, which is long too."
    whole = await client.synthesize(text, seed=9, render=QUICK, sampling=SHORT)
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
    chunks = [chunk async for chunk in client.stream_text(pieces_of(*pieces), seed=9, render=QUICK, sampling=SHORT)]

    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole.samples)


async def test_flush_speaks_what_is_there(client: AsyncClient) -> None:
    """Audio of an unfinished sentence comes before the text goes on."""
    heard = asyncio.Event()

    async def pieces() -> AsyncIterator[Piece]:
        yield "Just a moment please"
        yield Flush()
        await heard.wait()
        yield "and thank you."

    chunks = []
    async with asyncio.timeout(60):
        async for chunk in client.stream_text(pieces(), seed=1, render=QUICK):
            chunks.append(chunk)
            heard.set()

    assert [end.index for chunk in chunks for end in chunk.segment_ends] == [0, 1]


async def test_a_stream_that_waits_for_text_gives_its_slots_back(client: AsyncClient, slots: object) -> None:
    """The text pauses longer than the gateway waits: slots are free meanwhile, and the speech goes on after."""
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[Piece]:
        yield "This sentence is complete. "
        yield Flush()
        await go_on.wait()
        yield "This one comes much later."

    async def speak() -> list[int]:
        stream = client.stream_text(pieces(), seed=1, render=QUICK)
        return [end.index async for chunk in stream for end in chunk.segment_ends]

    speaking = asyncio.create_task(speak())
    await slots.until_taken()  # type: ignore[attr-defined]
    await slots.until_free()  # type: ignore[attr-defined]
    assert not speaking.done()
    go_on.set()

    assert await speaking == [0, 1]


async def test_a_cancelled_segment_is_not_heard_and_the_next_is(client: AsyncClient) -> None:
    async def pieces() -> AsyncIterator[Piece]:
        yield LONG_TEXT + " "
        yield Flush()
        yield CancelSegment(0)
        yield "This comes after."

    stream = client.stream_text(pieces(), seed=1, render=QUICK)
    ends = [end async for chunk in stream for end in chunk.segment_ends]

    assert [end.index for end in ends] == [0, 1]
    assert ends[0].finish_reason == "cancelled"
    assert ends[1].finish_reason != "cancelled"


@pytest.mark.parametrize("rate", [8000, 44100])
async def test_a_recording_of_ones_own_becomes_a_voice(client: AsyncClient, rate: int) -> None:
    """The same recording under two names is one voice; deleting both names removes it."""
    import io

    import soundfile

    reference = await client.synthesize(LONG_TEXT, seed=1, render=QUICK)
    file = io.BytesIO()
    soundfile.write(file, reference.samples, rate, format="FLAC")
    created = await client.voices.create(f"mine-{rate}", file.getvalue())
    also = await client.voices.create(f"mine-too-{rate}", file.getvalue())
    speech = await client.synthesize(TEXT, seed=1, voice=f"mine-{rate}", render=QUICK)

    assert created.id == also.id
    assert speech.utterance.voice_id == created.id
    await client.voices.delete(f"mine-{rate}")
    await client.voices.delete(f"mine-too-{rate}")
    assert created.id not in [voice.id for voice in await client.voices.list()]
