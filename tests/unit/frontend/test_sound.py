"""The sound that a caller asks for, over whole calls through the fake stages."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Literal

import grpc
import numpy as np
import pytest
import soundfile

from protos.tts.v1 import synthesis_pb2
from services.common.errors import DeadlineError
from services.frontend.audio import g711, wav
from services.frontend.audio.fade import fade_samples
from services.frontend.audio.pcm import Samples, to_floats, to_samples
from services.frontend.audio.resampling import Resampler
from services.frontend.speaking.first_audio import FirstAudioLimit
from services.frontend.speaking.timings import Timings
from tests.fakes.stage_worker import SAMPLE_RATE
from tests.fakes.system import FakeSystem
from tests.unit.frontend.conftest import config, error_info, heard, request

Message = synthesis_pb2.StreamingSynthesizeRequest
AudioChunk = synthesis_pb2.AudioChunk
TEXT = "One two three. Four five."
GAP = bytes(2 * SAMPLE_RATE // 5)
PLAIN = heard([3, 3, 6], 7) + GAP + heard([4, 5], 7)
"""What TEXT sounds like at the model's rate, in 16 bits."""


def audio(encoding: str = "LINEAR16", **fields: int) -> synthesis_pb2.AudioConfig:
    number = synthesis_pb2.AudioEncoding.Value(f"AUDIO_ENCODING_{encoding}")
    return synthesis_pb2.AudioConfig(encoding=number, **fields)


async def streamed(system: FakeSystem, text: str = TEXT, **fields: object) -> list[AudioChunk]:
    return [chunk async for chunk in system.speech.SynthesizeStream(request(text, **fields))]


def joined(chunks: list[AudioChunk]) -> bytes:
    return b"".join(chunk.audio for chunk in chunks)


def samples_of(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, np.int16)


def resampled(pcm: bytes, rate: int) -> Samples:
    resampler = Resampler(SAMPLE_RATE, rate)
    return to_samples(np.concatenate([resampler.push(to_floats(samples_of(pcm))), resampler.finish()]))


async def test_plain_speech_is_the_models_samples_bit_for_bit(system: FakeSystem) -> None:
    assert joined(await streamed(system)) == PLAIN
    assert joined(await streamed(system, audio=audio(chunk_ms=0))) == PLAIN


@pytest.mark.parametrize("encoding", ["LINEAR16", "FLOAT32", "MULAW", "ALAW"])
async def test_unary_and_stream_agree_in_every_encoding(system: FakeSystem, encoding: str) -> None:
    answer = await system.speech.Synthesize(request(TEXT, audio=audio(encoding)))
    chunks = await streamed(system, audio=audio(encoding))
    plain = samples_of(PLAIN)
    expected = {
        "LINEAR16": PLAIN,
        "FLOAT32": to_floats(plain).tobytes(),
        "MULAW": g711.mulaw(plain).tobytes(),
        "ALAW": g711.alaw(plain).tobytes(),
    }

    assert joined(chunks) == answer.audio == expected[encoding]
    assert chunks[0].utterance.encoding == answer.utterance.encoding == audio(encoding).encoding


async def test_unary_wav_knows_its_length_and_a_stream_leaves_it_open(system: FakeSystem) -> None:
    answer = await system.speech.Synthesize(request(TEXT, audio=audio("WAV", sample_rate_hz=8000)))
    chunks = await streamed(system, audio=audio("WAV", sample_rate_hz=8000))
    read, rate = soundfile.read(io.BytesIO(answer.audio), dtype="int16")

    assert rate == 8000
    assert answer.audio[:44] == wav.header(8000, len(read))
    assert joined(chunks)[:44] == wav.header(8000)
    assert joined(chunks)[44:] == answer.audio[44:] == read.tobytes()
    # The header is no sample: the first chunk has as many as the others.
    assert len(chunks[0].audio) == 44 + len(chunks[1].audio)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("chunk_ms", [0, 20])
async def test_stream_at_another_rate_is_the_whole_within_one_step(
    system: FakeSystem, rate: int, chunk_ms: int
) -> None:
    chunks = await streamed(system, audio=audio(sample_rate_hz=rate, chunk_ms=chunk_ms))
    made = samples_of(joined(chunks)).astype(np.int32)

    assert {chunk.sample_rate_hz for chunk in chunks} == {rate}
    assert np.abs(made - resampled(PLAIN, rate)).max() <= 1


@pytest.mark.parametrize("chunk_ms", [20, 40, 100])
async def test_every_chunk_but_the_last_has_the_length_that_was_asked_for(system: FakeSystem, chunk_ms: int) -> None:
    chunks = await streamed(system, audio=audio(sample_rate_hz=16_000, chunk_ms=chunk_ms))

    assert {len(chunk.audio) for chunk in chunks[:-1]} == {2 * 16 * chunk_ms}
    assert len(chunks[-1].audio) <= 2 * 16 * chunk_ms


async def test_last_message_has_the_rest_of_the_audio_and_the_accounts(system: FakeSystem) -> None:
    chunks = await streamed(system, audio=audio(sample_rate_hz=8_000))
    answer = await system.speech.Synthesize(request(TEXT, audio=audio(sample_rate_hz=8_000)))
    last = chunks[-1]

    assert last.audio
    assert [chunk.is_last for chunk in chunks].count(True) == 1
    assert not any(chunk.HasField("usage") or chunk.HasField("timings") for chunk in chunks[:-1])
    for usage in (last.usage, answer.usage):
        assert usage.characters == len(TEXT)
        assert usage.text_tokens == 5
        assert usage.codes == 20
        assert usage.audio_seconds == pytest.approx(len(joined(chunks)) / 2 / 8_000)
    for timings in (last.timings, answer.timings):
        assert 0 < timings.first_token_ms <= timings.first_audio_ms <= timings.total_ms
        assert set(timings.compute_ms) == {"gpt", "s2mel", "vocoder"}


async def test_chunks_say_whose_samples_they_have(system: FakeSystem) -> None:
    chunks = await streamed(system, audio=audio(sample_rate_hz=8_000, chunk_ms=20))
    ends = [end for chunk in chunks for end in chunk.segment_ends]
    first_length = ends[0].samples
    last_samples = [first_length - 1, first_length + ends[1].samples - 1]

    for chunk in chunks:
        index = int(chunk.start_sample >= first_length)
        assert chunk.segment == index
        assert (chunk.text_span.start, chunk.text_span.end) == [(0, 14), (15, 25)][index]
        inside = range(chunk.start_sample, chunk.start_sample + len(chunk.audio) // 2)
        assert [end.segment for end in chunk.segment_ends] == [at for at in (0, 1) if last_samples[at] in inside]
    assert [(end.text_span.start, end.text_span.end) for end in ends] == [(0, 14), (15, 25)]


async def test_gap_and_tail_are_as_long_as_asked(system: FakeSystem) -> None:
    first, second = heard([3, 3, 6], 7), heard([4, 5], 7)
    answer = await system.speech.Synthesize(request(TEXT, audio=audio(segment_gap_ms=50, tail_silence_ms=100)))
    joint = await system.speech.Synthesize(request(TEXT, audio=audio(segment_gap_ms=0)))

    assert answer.audio == first + bytes(2 * 80) + second + bytes(2 * 160)
    assert sum(info.samples for info in answer.segments) + 160 == len(answer.audio) // 2
    assert joint.audio == first + second


async def test_segment_that_is_cancelled_while_it_is_heard_fades_and_stops(system: FakeSystem) -> None:
    system.stages["vocoder"].behaviour.gate = _Turns(3)
    call = system.speech.StreamingSynthesize()
    await call.write(Message(config=config(audio=audio(chunk_ms=0))))
    await call.write(Message(text="One two three four five six seven eight nine ten. "))
    chunks = [await _read(call)]
    await call.write(Message(cancel_segment=synthesis_pb2.CancelSegment(segment=0)))
    await call.done_writing()
    while not chunks[-1].is_last:
        chunks.append(await _read(call))
    made = samples_of(joined(chunks))
    whole = samples_of(heard([3, 3, 5, 4, 4, 3, 5, 5, 4, 4], 7))
    steady = len(made) - fade_samples(SAMPLE_RATE)
    (end,) = (end for chunk in chunks for end in chunk.segment_ends)

    assert end.finish_reason == synthesis_pb2.FINISH_REASON_CANCELLED
    assert end.samples == len(made) < len(whole)
    np.testing.assert_array_equal(made[:steady], whole[:steady])
    assert made[-1] == 0
    assert chunks[-1].usage.text_tokens == 10
    await system.all_free()


async def test_stream_of_which_nothing_is_heard_is_one_message_that_says_so(system: FakeSystem) -> None:
    system.stages["vocoder"].behaviour.gate.clear()
    call = system.speech.StreamingSynthesize()
    await call.write(Message(config=config(audio=audio(tail_silence_ms=500))))
    await call.write(Message(text="One two. "))
    await system.stages["vocoder"].until(lambda: system.stages["vocoder"].num_open == 1)
    await call.write(Message(cancel_segment=synthesis_pb2.CancelSegment(segment=0)))
    await call.done_writing()
    chunk = await _read(call)

    assert chunk.is_last
    assert not chunk.audio
    assert chunk.utterance.seed == 7
    assert [(end.segment, end.samples) for end in chunk.segment_ends] == [(0, 0)]
    assert (chunk.usage.characters, chunk.usage.text_tokens, chunk.usage.audio_seconds) == (9, 0, 0)
    assert chunk.timings.first_audio_ms == 0


@pytest.mark.parametrize("method", ["Synthesize", "SynthesizeStream", "StreamingSynthesize"])
@pytest.mark.parametrize("num_before", [0, 2])
async def test_first_audio_that_comes_too_late_ends_the_call_and_frees_its_slots(
    system: FakeSystem, method: str, num_before: int
) -> None:
    """While a stage makes nothing, and while others have all the slots."""
    # From here on the voice is ready: the limit falls into the work of the stages.
    await _synthesize(system)
    vocoder = system.stages["vocoder"]
    vocoder.behaviour.gate.clear()
    before = [asyncio.create_task(_synthesize(system)) for _ in range(num_before)]
    await vocoder.until(lambda: vocoder.num_open == num_before)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await _begin(system, method, config(max_first_audio_ms=100))

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = error_info(failure.value)
    assert (info["reason"], info["field"]) == ("FIRST_AUDIO_TIMEOUT", "config.max_first_audio_ms")
    # Its slots were free before the caller heard of it.
    assert sum(link.leased for link in system.links) == 3 * num_before
    vocoder.behaviour.gate.set()
    await asyncio.gather(*before)
    await system.all_free()


async def test_callers_own_silence_does_not_count_in_the_limit_of_the_first_audio(system: FakeSystem) -> None:
    # From here on the voice is ready.
    await _synthesize(system)
    vocoder = system.stages["vocoder"]
    vocoder.behaviour.gate.clear()
    call = system.speech.StreamingSynthesize()
    await call.write(Message(config=config(max_first_audio_ms=200)))
    reading = asyncio.create_task(_read(call))
    await asyncio.wait([reading], timeout=0.4)
    assert not reading.done()

    # The first segment starts the clock again.
    await call.write(Message(text="One two. "))
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await reading
    assert error_info(failure.value)["reason"] == "FIRST_AUDIO_TIMEOUT"
    await system.all_free()


async def test_unary_answer_is_late_when_it_is_not_whole_in_time(system: FakeSystem) -> None:
    """Its first samples are heard by nobody."""
    await _synthesize(system)
    system.stages["vocoder"].behaviour.gate = _Turns(3)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request(TEXT, max_first_audio_ms=300), timeout=5)

    assert error_info(failure.value)["reason"] == "FIRST_AUDIO_TIMEOUT"
    await system.all_free()


async def test_first_audio_of_a_unary_answer_is_all_of_it(system: FakeSystem) -> None:
    timings = (await _synthesize(system)).timings

    assert timings.first_audio_ms > max(timings.first_output_ms.values())
    assert timings.total_ms - timings.first_audio_ms < 5


async def test_limit_that_passes_between_two_looks_at_it_is_not_met() -> None:
    timings = Timings(started=time.monotonic() - 1)
    with pytest.raises(DeadlineError, match="20 ms"):
        FirstAudioLimit(timings, 20).met()


async def test_limit_counts_only_while_it_is_not_paused() -> None:
    timings = Timings(started=time.monotonic() - 0.5)
    limit = FirstAudioLimit(timings, 1000)
    limit.pause()
    timings.started -= 10
    limit.resume()
    limit.met()


async def test_limit_of_the_first_audio_is_met_by_the_first_message(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[FirstAudioLimit] = []

    def note(limit: FirstAudioLimit) -> None:
        met.append(limit)

    monkeypatch.setattr(FirstAudioLimit, "met", note)
    call = system.speech.StreamingSynthesize()
    await call.write(Message(config=config(max_first_audio_ms=60_000, audio=audio(chunk_ms=0))))
    await call.write(Message(text="One two. "))
    await _read(call)

    assert met
    call.cancel()
    await system.all_free()


async def test_what_has_met_its_limit_may_take_its_time() -> None:
    limit = FirstAudioLimit(Timings(), 20)
    async with limit.watching():
        limit.met()
        await asyncio.sleep(0.05)
    async with limit.watching():
        await asyncio.sleep(0.05)


async def test_limit_leaves_another_timeout_alone() -> None:
    with pytest.raises(TimeoutError, match="other"):
        async with FirstAudioLimit(Timings(), 60_000).watching():
            raise TimeoutError("other")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sample_rate_hz", 7999), ("chunk_ms", 19), ("segment_gap_ms", 2001), ("tail_silence_ms", 2001), ("encoding", 17)],
)
async def test_field_out_of_range_is_refused_by_name(system: FakeSystem, field: str, value: int) -> None:
    asked = synthesis_pb2.AudioConfig(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request(TEXT, audio=asked))

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(failure.value)
    assert (info["reason"], info["field"]) == ("OUT_OF_RANGE", f"config.audio.{field}")
    assert "allowed" in info if field == "encoding" else "maximum" in info


class _Turns(asyncio.Event):
    """A stage's gate that closes by itself after so many pieces."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self._turns = turns

    async def wait(self) -> Literal[True]:
        if self._turns:
            self._turns -= 1
            return True
        return await super().wait()


async def _begin(system: FakeSystem, method: str, asked: synthesis_pb2.SynthesisConfig) -> None:
    """Make a call and wait for what comes first."""
    whole = synthesis_pb2.SynthesizeRequest(text=TEXT, config=asked)
    if method == "Synthesize":
        await system.speech.Synthesize(whole)
    elif method == "SynthesizeStream":
        await anext(aiter(system.speech.SynthesizeStream(whole)))
    else:
        await anext(aiter(system.speech.StreamingSynthesize(iter([Message(config=asked), Message(text=TEXT)]))))


async def _synthesize(system: FakeSystem) -> synthesis_pb2.SynthesizeResponse:
    return await system.speech.Synthesize(request(TEXT))


async def _read(call: grpc.aio.StreamStreamCall[Message, AudioChunk]) -> AudioChunk:
    chunk = await call.read()
    assert isinstance(chunk, AudioChunk)
    return chunk
