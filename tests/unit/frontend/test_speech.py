"""Whole utterances through three fake stages, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import Counter

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from services.common import guard, metrics, traces
from services.common.channels import CLIENT_OPTIONS
from services.frontend.servicers import whole_answer
from services.frontend.speaking import text_feed
from services.frontend.speaking.utterance import PipelineLimits
from services.frontend.text import Segment, Segmenter
from tests.fakes.stage_worker import SAMPLE_RATE
from tests.fakes.system import FakeSystem, FakeText, fake_system, token_ids
from tests.unit.frontend.conftest import config, error_info, heard, request

Message = synthesis_pb2.StreamingSynthesizeRequest
GAP = bytes(2 * SAMPLE_RATE // 5)
LONG_GAP = synthesis_pb2.AudioConfig(
    encoding=synthesis_pb2.AUDIO_ENCODING_FLOAT32, sample_rate_hz=48_000, segment_gap_ms=2_000, chunk_ms=0
)
WINDOW_BYTES = 1024


async def test_unary_speech_is_every_segment_in_order_with_gaps_between(system: FakeSystem) -> None:
    answer = await system.speech.Synthesize(request("One two three. Four five."))

    first, second = (heard(token_ids(text), 7) for text in ("One two three.", "Four five."))
    assert answer.audio == first + GAP + second
    assert answer.sample_rate_hz == SAMPLE_RATE
    assert [(info.text_span.start, info.text_span.end) for info in answer.segments] == [(0, 14), (15, 25)]
    assert [info.codes for info in answer.segments] == [12, 8]
    assert sum(info.samples for info in answer.segments) * 2 == len(answer.audio)
    assert {info.finish_reason for info in answer.segments} == {synthesis_pb2.FINISH_REASON_STOP}
    assert answer.utterance.seed == 7
    assert answer.utterance.policy == "balanced"
    assert set(answer.timings.compute_ms) == {"gpt", "s2mel", "vocoder"}
    await system.all_free()


async def test_answer_that_would_not_fit_ends_with_its_first_byte_too_many(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two of three segments, of which the first one alone fits.
    monkeypatch.setattr(whole_answer, "MAX_MESSAGE_BYTES", len(heard([3, 3, 6], 7)) + 1)
    vocoder = system.stages["vocoder"]
    with pytest.raises(grpc.aio.AioRpcError, match="SynthesizeStream") as failure:
        await system.speech.Synthesize(request("One two three. Four five. " + "Six seven. " * 40))

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(failure.value)
    assert (info["reason"], info["field"]) == ("MESSAGE_TOO_LARGE", "text")
    await system.all_free()
    made = [segment for stage, _, segment in system.events if stage == vocoder.stage]
    assert max(made) < 40


async def test_what_stands_beside_the_sound_counts_in_the_limit_of_an_answer(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_answer, "MAX_MESSAGE_BYTES", len(heard([3, 3, 6], 7)) + 1)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One two three."))

    assert error_info(failure.value)["reason"] == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize("method", ["Synthesize", "Analyze"])
async def test_text_is_checked_beside_the_event_loop(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(FakeText, "check_text", lambda *_, **__: threads.append(threading.current_thread()))
    if method == "Synthesize":
        await system.speech.Synthesize(request("One."))
    else:
        await system.speech.Analyze(synthesis_pb2.AnalyzeRequest(text="One."))

    assert threads
    assert threading.main_thread() not in threads


async def test_stream_numbers_messages_and_samples_without_a_hole(system: FakeSystem) -> None:
    chunks = [chunk async for chunk in system.speech.SynthesizeStream(request("One two three. Four five."))]

    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    at = 0
    for chunk in chunks:
        assert chunk.start_sample == at
        at += len(chunk.audio) // 2
    assert chunks[0].audio
    assert chunks[0].HasField("utterance")
    assert not any(chunk.HasField("utterance") for chunk in chunks[1:])
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.audio_seconds == pytest.approx(at / SAMPLE_RATE)
    assert [end.segment for chunk in chunks for end in chunk.segment_ends] == [0, 1]


async def test_first_sound_leaves_before_the_last_code(system: FakeSystem) -> None:
    await system.speech.Synthesize(request("One two three four five six seven eight."))

    assert system.events.index(("vocoder", "chunk", 0)) < system.events.index(("gpt", "end", 0))


async def test_next_segments_codes_are_made_while_one_is_rendered(system: FakeSystem) -> None:
    gate = system.stages["vocoder"].behaviour.gate
    gate.clear()
    speaking = asyncio.create_task(_synthesize(system, "One two. Three four."))
    await system.stages["gpt"].until(lambda: ("gpt", "chunk", 1) in system.events)

    assert not any(stage == "vocoder" for stage, _, _ in system.events)
    gate.set()
    await speaking


async def test_same_request_gives_the_same_samples_alone_and_beside_others(system: FakeSystem) -> None:
    text = "One two three. Four five."
    alone = await system.speech.Synthesize(request(text))
    first, second = await asyncio.gather(
        _synthesize(system, text), _synthesize(system, "Something else entirely. And more.")
    )

    assert first.audio == alone.audio
    assert second.audio != alone.audio


async def test_seed_is_drawn_and_returned_when_unset(system: FakeSystem) -> None:
    first, second = [await system.speech.Synthesize(synthesis_pb2.SynthesizeRequest(text="One two.")) for _ in range(2)]
    again = await system.speech.Synthesize(request("One two.", seed=first.utterance.seed))

    assert first.utterance.seed != second.utterance.seed
    assert again.audio == first.audio


async def test_speech_cut_at_the_limit_says_so(system: FakeSystem) -> None:
    answer = await system.speech.Synthesize(
        request("One two three four.", sampling=synthesis_pb2.SamplingConfig(max_codes=6))
    )

    assert answer.segments[0].finish_reason == synthesis_pb2.FINISH_REASON_MAX_CODES
    assert answer.segments[0].codes == 6


async def test_first_audio_that_comes_too_late_ends_the_call_and_frees_the_slots(system: FakeSystem) -> None:
    gate = system.stages["vocoder"].behaviour.gate
    gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One two.", max_first_audio_ms=300))

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_info(failure.value)["reason"] == "FIRST_AUDIO_TIMEOUT"
    await system.all_free()


async def test_limit_of_the_first_audio_is_none_of_the_second(tmp_path: Path) -> None:
    async with fake_system(tmp_path) as system:
        await system.gateway.voices.prepare()
        call = system.speech.SynthesizeStream(request("One two. Three four.", max_first_audio_ms=500))
        chunks = aiter(call)
        await anext(chunks)
        system.stages["vocoder"].behaviour.gate.clear()
        await asyncio.sleep(0.6)
        system.stages["vocoder"].behaviour.gate.set()
        rest = [chunk async for chunk in chunks]

        assert rest[-1].is_last


async def test_timings_tell_the_first_token_and_the_wait_for_slots(tmp_path: Path) -> None:
    async with fake_system(tmp_path, slots=1) as system:
        gate = system.stages["vocoder"].behaviour.gate
        gate.clear()
        running = asyncio.create_task(_synthesize(system, "One two."))
        await system.stages["vocoder"].until(lambda: system.stages["vocoder"].num_open == 1)
        waiting = asyncio.create_task(_synthesize(system, "Three."))
        await system.gateway.admission.changed.until(lambda: system.gateway.admission.queue_depth == 1)
        await asyncio.sleep(0.1)
        gate.set()
        first, second = (await running).timings, (await waiting).timings

        assert first.queue_ms < 50
        assert 90 < second.queue_ms < second.first_token_ms
        assert 0 < first.first_token_ms <= first.first_output_ms["s2mel"] < first.first_audio_ms


async def test_language_that_was_found_is_told_with_the_first_chunk(system: FakeSystem) -> None:
    found = [chunk async for chunk in system.speech.SynthesizeStream(request("One."))]
    named = await system.speech.Synthesize(request("One.", language="en-GB"))

    assert found[0].utterance.language == "en"
    assert named.utterance.language == "en-GB"


async def test_session_is_an_attribute_of_the_calls_span(system: FakeSystem) -> None:
    spans = InMemorySpanExporter()
    traces.configure("frontend", processors=[SimpleSpanProcessor(spans)])
    try:
        await system.speech.Synthesize(request("One.", session_id="s-1"))
    finally:
        traces.configure("frontend")

    call = next(span for span in spans.get_finished_spans() if span.name == "tts.v1.TextToSpeech/Synthesize")
    assert dict(call.attributes or {})["session_id"] == "s-1"


async def test_client_cancel_frees_every_stage(system: FakeSystem) -> None:
    call = system.speech.SynthesizeStream(request("One two three four five. Six seven eight."))
    await anext(aiter(call))
    call.cancel()

    await system.all_free()


async def test_deadline_frees_every_stage_and_travels(system: FakeSystem) -> None:
    system.stages["vocoder"].behaviour.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One two three."), timeout=1.5)

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert all(stage.opens[0].deadline_unix_ms > 0 for stage in system.stages.values())
    await system.all_free()


@pytest.mark.parametrize("broken", ["gpt", "s2mel", "vocoder"])
async def test_failing_stage_is_named_and_leaves_nothing_running(system: FakeSystem, broken: str) -> None:
    system.stages[broken].behaviour.fail_at = 1
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One two three."))

    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert "broke" in (failure.value.details() or "")
    await system.all_free()


async def test_worker_that_is_killed_ends_the_call_with_unavailable(system: FakeSystem) -> None:
    system.stages["vocoder"].behaviour.gate.clear()
    speaking = asyncio.create_task(_synthesize(system, "One two three."))
    await system.stages["vocoder"].until(lambda: system.stages["vocoder"].num_open == 1)
    await system.stops["s2mel"].stop(grace=None)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await speaking
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    await system.gateway.topology.changed.until(lambda: not system.gateway.topology.is_serving())
    statuses = system.board.statuses()
    assert statuses["stage.s2mel"] != statuses["stage.gpt"]
    with pytest.raises(grpc.aio.AioRpcError, match="s2mel") as failure:
        await system.speech.Synthesize(request("One two three."))
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_more_utterances_than_slots_wait_and_too_many_are_refused(tmp_path: Path) -> None:
    async with fake_system(tmp_path, slots=1, max_queue=1) as system:
        await system.gateway.voices.prepare()
        gate = system.stages["gpt"].behaviour.gate
        gate.clear()
        running = asyncio.create_task(_synthesize(system, "One two."))
        await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
        waiting = asyncio.create_task(_synthesize(system, "Three four."))
        await system.gateway.admission.changed.until(lambda: system.gateway.admission.queue_depth == 1)

        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.speech.Synthesize(request("Five."))
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.set()
        assert (await running).audio == heard([3, 4], 7)
        assert (await waiting).audio == heard([5, 5], 7)
        await system.all_free()


async def test_waiting_for_a_slot_ends_with_the_clients_cancel(tmp_path: Path) -> None:
    async with fake_system(tmp_path, slots=1) as system:
        admission, gate = system.gateway.admission, system.stages["gpt"].behaviour.gate
        gate.clear()
        running = asyncio.create_task(_synthesize(system, "One two."))
        await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
        call = system.speech.SynthesizeStream(request("Three."))
        await admission.changed.until(lambda: admission.queue_depth == 1)
        call.cancel()
        await admission.changed.until(lambda: admission.queue_depth == 0)

        gate.set()
        await running
        await system.all_free()
        assert len(system.stages["gpt"].opens) == 1


async def test_worker_that_refuses_is_asked_again(system: FakeSystem) -> None:
    system.stages["s2mel"].behaviour.refusals = 2
    answer = await system.speech.Synthesize(request("One two."))

    assert answer.audio == heard([3, 4], 7)
    assert len(system.stages["s2mel"].opens) == 3
    await system.all_free()


async def test_worker_that_keeps_refusing_ends_in_overload(tmp_path: Path) -> None:
    async with fake_system(tmp_path, limits=PipelineLimits(open_retry_seconds=0.1)) as system:
        system.stages["s2mel"].behaviour.refusals = 1000
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.speech.Synthesize(request("One two."))

        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await system.all_free()


async def test_ids_travel_to_every_stage(system: FakeSystem) -> None:
    answer = await system.speech.Synthesize(request("One two.", session_id="s-1"))

    for stage in system.stages.values():
        assert stage.metadata[0]["utterance-id"] == answer.utterance.utterance_id
        assert stage.metadata[0]["session-id"] == "s-1"
        assert "traceparent" in stage.metadata[0]
    assert answer.utterance.session_id == "s-1"


async def test_client_that_reads_nothing_holds_its_own_stages_back(tmp_path: Path) -> None:
    """What is made ahead of the client is bounded; another client is not disturbed."""
    limits = PipelineLimits(client_lead_seconds=0.02, chunk_window=1)
    async with fake_system(tmp_path, limits=limits) as system:
        call = system.gateway
        slow = system.speech.SynthesizeStream(request(" ".join(["word"] * 39) + ".", seed=1))
        await system.stages["vocoder"].until(lambda: ("vocoder", "chunk", 0) in system.events)
        answer = await system.speech.Synthesize(request("One two."))

        assert answer.audio == heard([3, 4], 7)
        assert call.admission.queue_depth == 0
        slow.cancel()
        await system.all_free()


async def test_model_of_a_single_stage_needs_no_other_code(tmp_path: Path) -> None:
    async with fake_system(tmp_path, stages=("everything",)) as system:
        answer = await system.speech.Synthesize(request("One two. Three."))

        assert answer.audio == heard([3, 4], 7) + GAP + heard([6], 7)
        assert set(answer.timings.compute_ms) == {"everything"}
        assert [info.codes for info in answer.segments] == [0, 0]
        await system.all_free()


async def test_call_without_a_deadline_gives_the_stages_none(system: FakeSystem) -> None:
    await system.speech.Synthesize(request("One."))

    assert all(stage.opens[0].deadline_unix_ms == 0 for stage in system.stages.values())


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_long_text_is_spoken_before_all_of_it_is_cut(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch, *, is_streamed: bool
) -> None:
    monkeypatch.setattr(text_feed, "SLICE_CHARACTERS", 12)
    text = "One two. Three four. Five six seven. Eight."
    going_on, feed = threading.Event(), Segmenter.feed

    def slow_feed(segmenter: Segmenter, part: str) -> list[Segment]:
        if segmenter.num_segments:
            assert going_on.wait(10)
        return feed(segmenter, part)

    monkeypatch.setattr(Segmenter, "feed", slow_feed)
    if is_streamed:
        messages = [Message(config=config()), Message(text=text)]
        chunks = aiter(system.speech.StreamingSynthesize(iter(messages)))
    else:
        chunks = aiter(system.speech.SynthesizeStream(request(text)))
    audio = (await anext(chunks)).audio
    going_on.set()
    async for chunk in chunks:
        audio += chunk.audio

    sentences = ("One two.", "Three four.", "Five six seven.", "Eight.")
    assert audio == GAP.join(heard(token_ids(sentence), 7) for sentence in sentences)


@pytest.mark.parametrize("timeout", [None, 2.0])
async def test_slow_reader_that_leaves_has_not_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timeout: float | None,  # noqa: ASYNC109
) -> None:
    outcome = "cancelled" if timeout is None else "timed_out"
    counter = metrics.REQUESTS.labels("SynthesizeStream", outcome)
    failed = metrics.REQUESTS.labels("SynthesizeStream", "failed")
    before, failed_before = _value(counter), _value(failed)
    is_stuck = _when_a_write_is_stuck(monkeypatch)
    async with fake_system(tmp_path) as system, _small_window(system.address) as speech:
        await system.gateway.voices.prepare()
        call = speech.SynthesizeStream(request("One two. Three four.", audio=LONG_GAP), timeout=timeout)
        await call.read()
        await asyncio.wait_for(is_stuck.wait(), 5)
        if timeout is None:
            call.cancel()
        else:
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await system.all_free()
        async with asyncio.timeout(5):
            while _value(counter) == before:
                await asyncio.sleep(0.02)

    assert _value(failed) == failed_before


@asynccontextmanager
async def _small_window(address: str) -> AsyncIterator[synthesis_pb2_grpc.TextToSpeechAsyncStub]:
    """A client that takes in no more than `WINDOW_BYTES` of a message that it does not read."""
    options = [*CLIENT_OPTIONS, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", WINDOW_BYTES)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield synthesis_pb2_grpc.TextToSpeechStub(channel)


def _when_a_write_is_stuck(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the gateway begins to write a second message beyond the window: it ends only when it is read."""
    is_stuck, write, num_large = asyncio.Event(), guard._write, 0

    async def watched(answer: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        nonlocal num_large
        num_large += len(getattr(answer, "audio", b"")) > WINDOW_BYTES
        if num_large > 1:
            is_stuck.set()
        await write(answer, context)

    monkeypatch.setattr(guard, "_write", watched)
    return is_stuck


def _value(counter: Counter) -> float:
    return next(sample.value for metric in counter.collect() for sample in metric.samples)


async def _synthesize(system: FakeSystem, text: str) -> synthesis_pb2.SynthesizeResponse:
    return await system.speech.Synthesize(request(text))
