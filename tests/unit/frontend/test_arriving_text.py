"""StreamingSynthesize: text in pieces, flush, cancel, pauses and the rules of the stream."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from triptych.writing import CallOverError, end_writing, write

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.frontend.gateway import TextLimits
from services.frontend.request.resolver import CheckedConfig, RequestResolver
from services.frontend.speaking.utterance import PipelineLimits
from tests.fakes.stage_worker import SAMPLE_RATE, describe
from tests.fakes.system import FakeSystem, fake_system, token_ids
from tests.fakes.voices import recording
from tests.unit.frontend.conftest import config, error_info, heard, request

Message = synthesis_pb2.StreamingSynthesizeRequest
GAP = bytes(2 * SAMPLE_RATE // 5)
CONFIG = Message(config=config())


def text(value: str) -> Message:
    return Message(text=value)


async def speak(system: FakeSystem, *messages: Message) -> list[synthesis_pb2.AudioChunk]:
    call = system.speech.StreamingSynthesize()
    # grpc.aio's own writing would lose the status of a call that is refused meanwhile.
    with suppress(CallOverError):
        for message in messages:
            await write(call, message)
        await end_writing(call)
    return [chunk async for chunk in call]


async def test_pieces_of_text_give_the_speech_of_the_whole(system: FakeSystem) -> None:
    whole = await system.speech.Synthesize(request("One two three. Four five."))
    chunks = await speak(system, CONFIG, text("One t"), text("wo three. F"), text("our five."))

    assert b"".join(chunk.audio for chunk in chunks) == whole.audio


async def test_flush_speaks_what_has_no_end_yet(system: FakeSystem) -> None:
    call = system.speech.StreamingSynthesize()
    for message in (CONFIG, text("One two"), Message(flush=synthesis_pb2.Flush())):
        await call.write(message)
    chunks = [await _read(call)]
    while not chunks[-1].segment_ends:
        chunks.append(await _read(call))

    assert b"".join(chunk.audio for chunk in chunks) == heard([3, 3], 7)
    await call.done_writing()
    assert (await _read(call)).is_last


async def test_stream_that_waits_for_text_gives_its_slots_back_and_goes_on(tmp_path: Path) -> None:
    async with fake_system(tmp_path, slots=1, limits=PipelineLimits(text_idle_seconds=0.05)) as system:
        call = system.speech.StreamingSynthesize()
        await call.write(CONFIG)
        await call.write(text("One two. Thr"))
        first = await _segment(call)
        await system.all_free()
        other = await system.speech.Synthesize(request("Else."))
        await call.write(text("ee four."))
        await call.done_writing()
        second = await _segment(call)

        assert other.audio
        assert first + second == heard([3, 4], 7) + GAP + heard([5, 5], 7)
        assert not any(opening.HasField("resume") for opening in system.stages["gpt"].opens)
        assert (await _read(call)).is_last
        await system.all_free()


async def test_slots_are_taken_only_when_there_is_a_segment(system: FakeSystem) -> None:
    call = system.speech.StreamingSynthesize()
    await call.write(CONFIG)
    await call.write(text("no end yet"))
    other = await system.speech.Synthesize(request("Else."))

    assert other.audio
    assert len(system.stages["gpt"].opens) == 1
    call.cancel()
    await system.all_free()


async def test_cancelled_segment_goes_silent_and_the_next_one_follows(system: FakeSystem) -> None:
    gate = system.stages["vocoder"].behaviour.gate
    gate.clear()
    call = system.speech.StreamingSynthesize()
    await call.write(CONFIG)
    await call.write(text("One two three four five six. Seven eight. "))
    await system.stages["vocoder"].until(lambda: system.stages["vocoder"].num_open == 1)
    await system.stages["gpt"].until(lambda: ("gpt", "chunk", 0) in system.events)
    await call.write(_cancel(0))
    await call.write(_cancel(99))
    await call.write(text("Nine. "))
    await system.stages["gpt"].until(lambda: ("gpt", "chunk", 2) in system.events or ("gpt", "end", 1) in system.events)
    gate.set()
    await call.done_writing()
    chunks = [chunk async for chunk in call]

    ends = {end.segment: end for chunk in chunks for end in chunk.segment_ends}
    assert ends[0].finish_reason == synthesis_pb2.FINISH_REASON_CANCELLED
    assert ends[0].samples == 0
    assert chunks[0].audio
    audio = b"".join(chunk.audio for chunk in chunks)
    assert audio == heard(token_ids("Seven eight."), 7) + GAP + heard(token_ids("Nine."), 7)
    await system.all_free()


async def test_segment_is_cancelled_while_the_lap_for_it_opens(tmp_path: Path) -> None:
    async with fake_system(tmp_path, limits=PipelineLimits(text_idle_seconds=0.05)) as system:
        gpt = system.stages["gpt"]
        call = system.speech.StreamingSynthesize()
        await call.write(CONFIG)
        await call.write(text("One two. Thr"))
        first = await _segment(call)
        await system.all_free()
        gpt.behaviour.door.clear()
        await call.write(text("ee four. Five six. "))
        await gpt.until(lambda: len(gpt.opens) == 2)
        await call.write(_cancel(1))
        await call.done_writing()
        await asyncio.sleep(0.1)
        gpt.behaviour.door.set()
        chunks = await _rest(call)

        ends = {end.segment: end for chunk in chunks for end in chunk.segment_ends}
        assert ends[1].finish_reason == synthesis_pb2.FINISH_REASON_CANCELLED
        assert ends[2].finish_reason == synthesis_pb2.FINISH_REASON_STOP
        audio = first + b"".join(chunk.audio for chunk in chunks)
        assert audio == heard([3, 4], 7) + GAP + heard([4, 4], 7)
        await system.all_free()


@pytest.mark.parametrize("method", ["Synthesize", "SynthesizeStream", "StreamingSynthesize", "Analyze"])
async def test_calls_are_counted_and_one_too_many_is_refused(tmp_path: Path, method: str) -> None:
    async with fake_system(tmp_path, text_limits=TextLimits(max_streams=1)) as system:
        idle = system.speech.StreamingSynthesize()
        await idle.write(CONFIG)
        await idle.write(text("One two. Thr"))
        await _segment(idle)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await _make(system, method)
        await idle.done_writing()
        await _rest(idle)
        assert await idle.read() is grpc.aio.EOF

        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(failure.value)["reason"] == "TOO_MANY_STREAMS"
        await _make(system, method)


@pytest.mark.parametrize("pieces", [[], [""], [" ", "\n"]])
async def test_white_space_alone_is_no_text(system: FakeSystem, pieces: list[str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await speak(system, CONFIG, *map(text, pieces))

    assert error_info(failure.value)["reason"] == "TEXT_EMPTY"


async def test_policy_that_needs_the_whole_text_is_refused_before_a_voice_is_computed(tmp_path: Path) -> None:
    about = describe("everything")
    about.params.add(name="compat", minimum=0, maximum=1)
    about.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE)
    about.conditions.add(name="style", dtype="float32", shape=[4])
    about.voice_steps.add(name="style", takes=["audio_16000"], gives=["style"], max_audio_seconds=15)
    async with fake_system(tmp_path, abouts=[about]) as system:
        given = synthesis_pb2.ReferenceRecording(audio=recording(330.0))
        asked = config(render=synthesis_pb2.RenderConfig(policy="compat"), recording=given)
        await system.gateway.voices.prepare()
        before = len(system.stages["everything"].encoded)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await speak(system, Message(config=asked), text("One."))

        info = error_info(failure.value)
        assert (info["reason"], info["field"]) == ("FIELD_CONFLICT", "config.render.policy")
        assert len(system.stages["everything"].encoded) == before


async def test_recording_of_a_request_is_not_kept_while_it_is_spoken(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[object]] = []
    check = RequestResolver.check

    def noted(resolver: RequestResolver, asked: synthesis_pb2.SynthesisConfig) -> CheckedConfig:
        checked = check(resolver, asked)
        kept.append(weakref.ref(checked))
        return checked

    monkeypatch.setattr(RequestResolver, "check", noted)
    call = system.speech.StreamingSynthesize()
    given = synthesis_pb2.ReferenceRecording(audio=recording(330.0))
    await call.write(Message(config=config(recording=given)))
    await call.write(text("One two. Thr"))
    await _segment(call)
    gc.collect()

    left = [each() for each in kept]
    call.cancel()
    await system.all_free()

    assert left == [None]


async def test_stream_that_never_sends_its_config_ends(tmp_path: Path) -> None:
    async with fake_system(tmp_path, text_limits=TextLimits(stream_idle_seconds=0.05)) as system:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.speech.StreamingSynthesize(_silent([])).read()

        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_segment_that_waits_is_cancelled_before_it_costs_anything(system: FakeSystem) -> None:
    gate = system.stages["gpt"].behaviour.gate
    gate.clear()
    system.stages["gpt"].behaviour.window = 1
    call = system.speech.StreamingSynthesize()
    await call.write(CONFIG)
    await call.write(text("One two. Three four. Five six. "))
    await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
    await call.write(_cancel(2))
    await call.done_writing()
    gate.set()
    chunks = [chunk async for chunk in call]

    assert ("gpt", "end", 2) not in system.events
    assert chunks[-1].is_last
    await system.all_free()


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "config"),
        ([text("Hello.")], "config"),
        ([CONFIG, CONFIG], "config"),
        ([CONFIG, Message()], "message"),
        ([CONFIG], "text"),
        ([CONFIG, text("... !!!")], "text"),
        ([CONFIG, text("a\x00b")], "text"),
        ([CONFIG, text("a" * 101)], "text"),
        ([Message(config=config(render=synthesis_pb2.RenderConfig(policy="fast")))], "config.render.policy"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_broken_rule_is_an_invalid_argument(tmp_path: Path, messages: Sequence[Message], field: str) -> None:
    async with fake_system(tmp_path, text_limits=TextLimits(max_stream_characters=100)) as system:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await speak(system, *messages)

        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in str(failure.value.trailing_metadata())
        await system.all_free()


async def test_stream_without_messages_ends(tmp_path: Path) -> None:
    async with fake_system(tmp_path, text_limits=TextLimits(stream_idle_seconds=0.05)) as system:
        call = system.speech.StreamingSynthesize(_silent([CONFIG]))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            async for _ in call:
                pass

        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_stream_that_is_still_spoken_is_not_idle(tmp_path: Path) -> None:
    async with fake_system(tmp_path, text_limits=TextLimits(stream_idle_seconds=0.05)) as system:
        gate = system.stages["vocoder"].behaviour.gate
        gate.clear()
        call = system.speech.StreamingSynthesize(_silent([CONFIG, text("One two. ")]))
        await system.stages["gpt"].until(lambda: ("gpt", "end", 0) in system.events)
        await asyncio.sleep(0.2)
        gate.set()
        assert await _segment(call) == heard([3, 4], 7)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await _read(call)

        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await system.all_free()


async def _silent(messages: Sequence[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message
    await asyncio.Event().wait()


def _cancel(segment: int) -> Message:
    return Message(cancel_segment=synthesis_pb2.CancelSegment(segment=segment))


async def _read(
    call: grpc.aio.StreamStreamCall[Message, synthesis_pb2.AudioChunk],
) -> synthesis_pb2.AudioChunk:
    chunk = await call.read()
    assert isinstance(chunk, synthesis_pb2.AudioChunk)
    return chunk


async def _segment(call: grpc.aio.StreamStreamCall[Message, synthesis_pb2.AudioChunk]) -> bytes:
    """The audio up to the end of a segment."""
    chunks = [await _read(call)]
    while not chunks[-1].segment_ends:
        chunks.append(await _read(call))
    return b"".join(chunk.audio for chunk in chunks)


async def _rest(
    call: grpc.aio.StreamStreamCall[Message, synthesis_pb2.AudioChunk],
) -> list[synthesis_pb2.AudioChunk]:
    """Everything up to the last message."""
    chunks = [await _read(call)]
    while not chunks[-1].is_last:
        chunks.append(await _read(call))
    return chunks


async def _make(system: FakeSystem, method: str) -> None:
    """Make a call of a method, to its end."""
    if method == "StreamingSynthesize":
        await speak(system, CONFIG, text("One."))
    elif method == "SynthesizeStream":
        _ = [chunk async for chunk in system.speech.SynthesizeStream(request("One."))]
    elif method == "Synthesize":
        await system.speech.Synthesize(request("One."))
    else:
        await system.speech.Analyze(synthesis_pb2.AnalyzeRequest(config=config(), text="One."))
