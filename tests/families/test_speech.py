"""Models of one and of two stages speak through one gateway, with every method and in every form of sound."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from protos.tts.v1 import synthesis_pb2, voices_pb2
from services.common.arrays import Array
from services.common.stage.loop import StageLoop
from services.frontend.audio.resampling import position_at
from tests.families import chime, duet
from tests.families.asking import (
    RECORDING,
    SEED,
    Message,
    Samples,
    analyze,
    config,
    heard,
    messages,
    pcm,
    recording,
    request,
    tone,
    upload,
)
from tests.families.character_text import ids_of
from tests.families.chime import ChimeEngine
from tests.families.system import Families
from tests.families.test_engines import made_of

TEXT = "Over the hills and far away. Nobody came."
SENTENCES = ("Over the hills and far away.", "Nobody came.")
NUM_IDS = [28, 12]
GAP = 4_800
"""Samples of 200 ms at the rate of both models."""
MODELS = (chime.MODEL, duet.MODEL)


def chimed(speaker: str = "") -> Samples:
    """What chime makes of the text, as it is sent."""
    first, second = (heard(_graph(sentence, speaker), chime.SAMPLE_RATE) for sentence in SENTENCES)
    return np.concatenate([first, np.zeros(GAP, np.int16), second])


def _graph(sentence: str, speaker: str) -> Array:
    return made_of(ChimeEngine(), np.asarray(ids_of(sentence)), speaker=speaker)


async def spoken(system: Families, text: str = TEXT, **fields: object) -> synthesis_pb2.SynthesizeResponse:
    return await system.speech.Synthesize(request(text, **fields))


async def streamed(system: Families, text: str = TEXT, **fields: object) -> list[synthesis_pb2.AudioChunk]:
    return [chunk async for chunk in system.speech.SynthesizeStream(request(text, **fields))]


def test_the_text_is_as_the_counts_say() -> None:
    assert [len(ids_of(sentence)) for sentence in SENTENCES] == NUM_IDS


async def test_one_stage_speaks_exactly_what_its_graph_gives(system: Families) -> None:
    answer = await spoken(system, model=chime.MODEL)

    np.testing.assert_array_equal(pcm(answer.audio), chimed())
    assert answer.sample_rate_hz == 24_000
    assert [segment.samples for segment in answer.segments] == [28 * 480, 12 * 480 + GAP]
    assert [segment.codes for segment in answer.segments] == [0, 0]
    assert (answer.utterance.model, answer.utterance.voice_id) == ("chime", "alto")
    assert list(answer.timings.compute_ms) == ["chime"]
    assert answer.timings.first_token_ms == 0
    assert (answer.usage.text_tokens, answer.usage.codes) == (sum(NUM_IDS), 0)


async def test_two_stages_speak_exactly_what_their_codes_say(system: Families) -> None:
    analysis = await system.speech.Analyze(analyze(TEXT, model=duet.MODEL, with_codes=True))
    answer = await spoken(system, model=duet.MODEL)
    codes = [np.reshape(segment.codes, (-1, 2)) for segment in analysis.segments]
    pipeline = system.gateway.topology.pipeline(duet.MODEL)
    _, features = await system.gateway.voices.inline(RECORDING, "la la la", pipeline, field_path="config.recording")
    loudness = float(features["loudness"][0])
    first, second = (heard(duet.tones(each, 1_920, loudness=loudness), 24_000) for each in codes)

    assert [len(each) for each in codes] == NUM_IDS
    np.testing.assert_array_equal(pcm(answer.audio), np.concatenate([first, np.zeros(GAP, np.int16), second]))
    assert [segment.samples for segment in answer.segments] == [28 * 1920, 12 * 1920 + GAP]
    assert [segment.codes for segment in answer.segments] == NUM_IDS
    assert set(answer.timings.compute_ms) == {"talker", "codec"}
    assert answer.timings.first_token_ms > 0
    assert pcm(answer.audio).std() > 100


async def test_dry_run_tells_the_codes_of_two_codebooks(system: Families) -> None:
    first = await system.speech.Analyze(analyze(TEXT, model=duet.MODEL, with_codes=True))
    again = await system.speech.Analyze(analyze(TEXT, model=duet.MODEL, with_codes=True))
    other = await system.speech.Analyze(analyze(TEXT, model=duet.MODEL, with_codes=True, seed=SEED + 1))

    assert [segment.codebooks for segment in first.segments] == [2, 2]
    assert [len(segment.codes) for segment in first.segments] == [2 * count for count in NUM_IDS]
    assert first.usage.codes == sum(NUM_IDS)
    assert [list(segment.codes) for segment in again.segments] == [list(segment.codes) for segment in first.segments]
    assert [list(segment.codes) for segment in other.segments] != [list(segment.codes) for segment in first.segments]


@pytest.mark.parametrize("model", MODELS)
async def test_dry_run_reads_the_text_with_the_models_own_front_end(system: Families, model: str) -> None:
    answer = await system.speech.Analyze(analyze("Hey, YOU ☃!", model=model))
    [segment] = answer.segments

    assert segment.normalized_text == "hey, you !"
    assert [token.id for token in segment.tokens] == ids_of("hey, you !")
    assert [(each.text_span.start, each.text_span.end) for each in segment.warnings] == [(9, 10)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("encoding", "rate", "bytes_per_sample", "header"),
    [
        (synthesis_pb2.AUDIO_ENCODING_MULAW, 8_000, 1, 0),
        (synthesis_pb2.AUDIO_ENCODING_FLOAT32, 48_000, 4, 0),
        (synthesis_pb2.AUDIO_ENCODING_WAV, 22_050, 2, 44),
    ],
)
async def test_a_stream_has_the_rate_and_encoding_that_were_asked_for(
    system: Families,
    model: str,
    encoding: synthesis_pb2.AudioEncoding.ValueType,
    rate: int,
    bytes_per_sample: int,
    header: int,
) -> None:
    audio = synthesis_pb2.AudioConfig(encoding=encoding, sample_rate_hz=rate, chunk_ms=50)
    chunks = await streamed(system, model=model, audio=audio)
    num_samples = sum(NUM_IDS) * {chime.MODEL: 480, duet.MODEL: 1920}[model] + GAP
    body = b"".join(chunk.audio for chunk in chunks)[header:]

    assert len(body) == bytes_per_sample * position_at(num_samples, 24_000, rate)
    assert {chunk.sample_rate_hz for chunk in chunks} == {rate}
    lengths = [(after.start_sample - before.start_sample) for before, after in pairwise(chunks)]
    assert set(lengths) == {round(rate * 0.05)}
    assert [end.segment for chunk in chunks for end in chunk.segment_ends] == [0, 1]
    if encoding == synthesis_pb2.AUDIO_ENCODING_FLOAT32:
        assert np.frombuffer(body, np.float32).std() > 1e-3


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_says_what_one_answer_says(system: Families, model: str) -> None:
    chunks = await streamed(system, model=model)

    assert b"".join(chunk.audio for chunk in chunks) == (await spoken(system, model=model)).audio


async def test_streams_of_both_models_run_at_once(system: Families) -> None:
    words = [f"{word} " for word in TEXT.split()]

    async def listen(model: str) -> bytes:
        call = system.speech.StreamingSynthesize(messages(config(model=model), words))
        return b"".join([chunk.audio async for chunk in call])

    for worker in system.workers.values():
        worker.engine.gate.clear()
    calls = [asyncio.create_task(listen(model)) for model in (*MODELS, *MODELS)]
    changed = system.gateway.admission.changed
    await changed.until(lambda: all(worker.link.leased == 2 for worker in system.workers.values()))
    for worker in system.workers.values():
        worker.engine.gate.set()
    at_once = await asyncio.gather(*calls)
    alone = [(await spoken(system, model=model)).audio for model in MODELS]

    assert at_once == [*alone, *alone]


async def test_sentences_of_both_models_take_turns(system: Families) -> None:
    calls: dict[str, Any] = {model: system.speech.StreamingSynthesize() for model in MODELS}
    audio = dict.fromkeys(MODELS, b"")
    as_rendered = synthesis_pb2.AudioConfig(chunk_ms=0)
    for model, call in calls.items():
        await call.write(Message(config=config(model=model, audio=as_rendered)))
    for number, sentence in enumerate(SENTENCES):
        for model, call in calls.items():
            await call.write(Message(text=f"{sentence} "))
            await call.write(Message(flush=synthesis_pb2.Flush()))
            audio[model] += await _read_segment(call, number)
    for call in calls.values():
        await call.done_writing()
        last = await call.read()
        assert (last.is_last, last.audio) == (True, b"")

    assert audio == {model: (await spoken(system, model=model)).audio for model in MODELS}


async def _read_segment(call: Any, number: int) -> bytes:
    """Read up to the end of a segment."""
    parts = []
    while True:
        chunk = await call.read()
        parts.append(chunk.audio)
        if any(end.segment == number for end in chunk.segment_ends):
            return b"".join(parts)


@pytest.mark.parametrize("model", MODELS)
async def test_a_cancelled_segment_leaves_the_others(
    system: Families, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = system.workers[{chime.MODEL: "chime", duet.MODEL: "talker"}[model]]
    pushed, cancelled = told_of(worker.loop, "push", monkeypatch), told_of(worker.loop, "cancel_segment", monkeypatch)
    worker.engine.gate.clear()
    call = system.speech.StreamingSynthesize()
    await call.write(Message(config=config(model=model)))
    await call.write(Message(text=TEXT))
    await pushed.wait()
    await call.write(Message(cancel_segment=synthesis_pb2.CancelSegment(segment=0)))
    await cancelled.wait()
    worker.engine.gate.set()
    await call.done_writing()
    ends = [end async for chunk in call for end in chunk.segment_ends]

    assert [(end.segment, end.finish_reason) for end in ends] == [
        (0, synthesis_pb2.FINISH_REASON_CANCELLED),
        (1, synthesis_pb2.FINISH_REASON_STOP),
    ]
    assert [end.samples for end in ends] == [0, 12 * {chime.MODEL: 480, duet.MODEL: 1920}[model]]


def told_of(loop: StageLoop, name: str, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set once a worker's loop has been asked for something."""
    event, ask = asyncio.Event(), getattr(loop, name)

    def asked(*arguments: Any) -> None:
        ask(*arguments)
        event.set()

    monkeypatch.setattr(loop, name, asked)
    return event


async def test_a_speaker_changes_the_sound(system: Families) -> None:
    alto = await spoken(system, voice="alto")
    bass = await spoken(system, voice="bass")

    np.testing.assert_array_equal(pcm(bass.audio), chimed("bass"))
    assert alto.audio == (await spoken(system)).audio
    assert np.abs(pcm(alto.audio).astype(int) - pcm(bass.audio)).max() > 1_000
    assert bass.utterance.voice_id == "bass"


async def test_speed_of_one_model_and_speaking_rate_of_the_other(system: Families) -> None:
    fast = await spoken(system, params={"speed": 1.6})
    slow = await spoken(system, model=duet.MODEL, speaking_rate=0.8)

    assert fast.segments[0].samples == 28 * 300
    assert slow.segments[0].samples == 28 * 2_400
    assert [segment.codes for segment in slow.segments] == NUM_IDS


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "softly"},
        {"language": "de"},
        {"seed": SEED + 1},
        {"recording": recording("tra la la")},
        {"recording": recording(audio=tone(330.0))},
    ],
    ids=["instruction", "language", "seed", "transcript", "recording"],
)
async def test_each_part_of_a_request_changes_the_sound(system: Families, change: dict[str, object]) -> None:
    usual = await spoken(system, SENTENCES[0], model=duet.MODEL)
    other = await spoken(system, SENTENCES[0], model=duet.MODEL, **change)

    assert usual.audio == (await spoken(system, SENTENCES[0], model=duet.MODEL)).audio
    assert len(other.audio) == len(usual.audio)
    assert (pcm(other.audio) != pcm(usual.audio)).mean() > 0.5


async def test_a_segment_that_is_cut_at_the_limit_of_codes_says_so(system: Families) -> None:
    answer = await spoken(system, model=duet.MODEL, sampling=synthesis_pb2.SamplingConfig(max_codes=12))

    assert [segment.codes for segment in answer.segments] == [12, 12]
    assert [segment.finish_reason for segment in answer.segments] == [
        synthesis_pb2.FINISH_REASON_MAX_CODES,
        synthesis_pb2.FINISH_REASON_STOP,
    ]
    assert answer.segments[0].samples == 12 * 1_920


@pytest.mark.parametrize("model", MODELS)
async def test_whole_segments_sound_as_windows_do(system: Families, model: str) -> None:
    whole = await spoken(system, model=model, render=synthesis_pb2.RenderConfig(policy="whole"))
    windows = await spoken(system, model=model)

    assert whole.utterance.policy == "whole"
    assert np.abs(pcm(whole.audio).astype(int) - pcm(windows.audio)).max() <= 1


async def test_a_voice_that_is_registered_with_its_transcript_is_that_recording(system: Families) -> None:
    created = await system.voices.Create(upload("ann", RECORDING, transcript="la la la"))
    try:
        answer = await spoken(system, SENTENCES[0], model=duet.MODEL, voice="ann")
        inline = await spoken(system, SENTENCES[0], model=duet.MODEL)
    finally:
        await system.voices.Delete(voices_pb2.DeleteVoiceRequest(name="ann"))

    assert answer.utterance.voice_id == inline.utterance.voice_id == created.id
    assert answer.audio == inline.audio
