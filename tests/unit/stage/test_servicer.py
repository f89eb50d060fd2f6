"""The stage protocol over a real socket, with an engine that only counts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from triptych.writing import CallOverError, write

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common import tensors
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, TtsError, WrongModelError
from services.common.grpc_errors import ErrorInterceptor, from_rpc_error
from services.common.reasons import Reason
from services.common.stage.loop import StageLoop
from services.common.stage.servicer import StageServicer
from services.common.stage.voice_cache import DEFAULT_BYTES
from tests.unit.stage.counting_engine import FATAL, CountingEngine

VOICE = {"total": np.array([1.0], np.float32)}
VOICE_HASH = tensors.digest(VOICE)


@dataclass
class Worker:
    engine: CountingEngine
    loop: StageLoop
    stub: stage_pb2_grpc.StageAsyncStub
    running: asyncio.Task[None]


@asynccontextmanager
async def worker(slots: int = 2, *, voice_cache_bytes: int = DEFAULT_BYTES) -> AsyncIterator[Worker]:
    engine = CountingEngine(slots)
    loop = StageLoop(engine, max_batch_size=8)
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    servicer = StageServicer(loop, worker="w", voice_cache_bytes=voice_cache_bytes)
    stage_pb2_grpc.add_StageServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(loop.run_forever())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Worker(engine, loop, stage_pb2_grpc.StageStub(channel), running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.stop(None)


async def put(call: Any, message: stage_pb2.RunRequest) -> None:
    """Send a message; a call that is over says so when it is read."""
    with suppress(CallOverError):
        await write(call, message)


async def read(call: Any) -> Any:
    """The next message, or EOF when the call has ended, however it did."""
    try:
        return await call.read()
    except grpc.aio.AioRpcError:
        return grpc.aio.EOF


class Stream:
    """One Run call, message by message."""

    def __init__(self, it: Worker, **fields: object) -> None:
        self.call: Any = it.stub.Run()
        self.opening = stage_pb2.Open(**{"utterance_id": "u", "voice_hash": VOICE_HASH, **fields})  # type: ignore[arg-type]

    async def open(self, credit: int = 100) -> Stream:
        await put(self.call, stage_pb2.RunRequest(open=self.opening))
        answer = await read(self.call)
        if answer.HasField("need_voice"):
            await put(self.call, stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=tensors.to_proto(VOICE))))
            answer = await read(self.call)
        assert answer.HasField("opened"), answer
        await self.credit(credit)
        return self

    async def credit(self, chunks: int) -> None:
        await put(self.call, stage_pb2.RunRequest(credit=stage_pb2.Credit(chunks=chunks)))

    async def send(self, ids: list[int], *, segment: int = 0, start: int = 0, end: bool = False) -> None:
        chunk = stage_pb2.Chunk(
            segment=segment,
            start=start,
            tensors=tensors.to_proto({"ids": np.array(ids, np.int32)}),
            is_segment_end=end,
        )
        await put(self.call, stage_pb2.RunRequest(chunk=chunk))

    async def end(self) -> None:
        await put(self.call, stage_pb2.RunRequest(end=stage_pb2.End()))
        await self.call.done_writing()

    async def answer(self, kind: str) -> Any:
        """The next answer of a kind."""
        while True:
            answer = await read(self.call)
            assert answer is not grpc.aio.EOF, await self.call.code()
            if answer.HasField(kind):
                return answer

    async def chunk(self) -> stage_pb2.Chunk:
        chunk: stage_pb2.Chunk = (await self.answer("chunk")).chunk
        return chunk

    async def rest(self) -> tuple[list[int], stage_pb2.RunStats]:
        """All numbers that still come, and the stats of Done."""
        made: list[int] = []
        while True:
            answer = await read(self.call)
            if answer is grpc.aio.EOF:
                raise AssertionError(await self.call.code())
            if answer.HasField("chunk"):
                made += tensors.from_proto(answer.chunk.tensors)["codes"].tolist()
            elif answer.HasField("done"):
                return made, answer.done.stats

    async def failure(self) -> tuple[grpc.StatusCode, str]:
        while await read(self.call) is not grpc.aio.EOF:
            pass
        return await self.call.code(), await self.call.details()

    async def error(self) -> TtsError:
        """What the call failed with, as a gateway sees it."""
        code, details = await self.failure()
        ends = await self.call.initial_metadata(), await self.call.trailing_metadata()
        return from_rpc_error(grpc.aio.AioRpcError(code, *ends, details))


async def until(condition: object) -> None:
    """Wait for something that the worker does by itself."""
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


async def test_items_come_back_in_order_and_done_carries_the_stats() -> None:
    async with worker() as it:
        stream = await Stream(it).open()
        await stream.send([1, 2])
        await stream.send([3], start=2, end=True)
        await stream.send([4, 5], segment=1, end=True)
        await stream.end()
        made, stats = await stream.rest()

        assert made == [2, 4, 6, 8, 10]
        assert stats.items == 5


async def test_a_known_voice_is_not_asked_for_again() -> None:
    async with worker() as it:
        first = await Stream(it).open()
        first.call.cancel()
        second = it.stub.Run()
        await put(second, stage_pb2.RunRequest(open=stage_pb2.Open(utterance_id="u2", voice_hash=VOICE_HASH)))

        assert (await read(second)).HasField("opened")


async def test_a_voice_with_another_hash_is_refused() -> None:
    async with worker() as it:
        call = it.stub.Run()
        await put(call, stage_pb2.RunRequest(open=stage_pb2.Open(voice_hash="0" * 64)))
        assert (await read(call)).need_voice.voice_hash == "0" * 64
        await put(call, stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=tensors.to_proto(VOICE))))

        assert await read(call) is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_engine_knows_a_voice_by_its_hash() -> None:
    """So that it can keep what it derives from the voice."""
    async with worker() as it:
        stream = await Stream(it).open()
        # Opened is said at once; a chunk comes from an engine that has the session.
        await stream.send([1])
        await stream.chunk()

        (session,) = it.engine.open_sessions
        assert session.voice_hash == VOICE_HASH
        assert tensors.digest(session.voice) == VOICE_HASH


async def test_a_voice_that_does_not_fit_is_spoken_with_and_asked_for_again() -> None:
    async with worker(voice_cache_bytes=VOICE["total"].nbytes - 1) as it:
        for _ in range(2):
            stream = Stream(it)
            await put(stream.call, stage_pb2.RunRequest(open=stream.opening))
            assert (await read(stream.call)).HasField("need_voice")
            await put(stream.call, stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=tensors.to_proto(VOICE))))
            assert (await read(stream.call)).HasField("opened")


async def test_without_credit_nothing_is_computed() -> None:
    """A caller that stops reading stops its own stream and no other."""
    async with worker() as it:
        slow = await Stream(it, utterance_id="slow").open(credit=1)
        await slow.send([1, 2, 3], end=True)
        await slow.chunk()
        quick = await Stream(it, utterance_id="quick").open()
        await quick.send([1, 2, 3], end=True)
        await quick.end()
        await quick.rest()

        assert sum("slow" in batch for batch in it.engine.batches) == 1
        await slow.credit(2)
        await slow.end()
        assert (await slow.rest())[0] == [4, 6]


async def test_streams_share_steps() -> None:
    async with worker() as it:
        one = await Stream(it, utterance_id="a").open(credit=0)
        two = await Stream(it, utterance_id="b").open(credit=0)
        for stream in (one, two):
            await stream.send([1] * 50, end=True)
        for stream in (one, two):
            await stream.credit(100)
            await stream.end()
        await asyncio.gather(one.rest(), two.rest())

        assert ["a", "b"] in [sorted(batch) for batch in it.engine.batches]


async def test_a_full_worker_refuses_at_once() -> None:
    async with worker(slots=1) as it:
        await Stream(it).open()
        second = Stream(it)
        await put(second.call, stage_pb2.RunRequest(open=second.opening))
        code, details = await second.failure()

        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "slots" in details


async def test_a_cancelled_call_frees_its_slot() -> None:
    async with worker(slots=1) as it:
        stream = await Stream(it).open()
        await stream.send([1, 2, 3], end=True)
        stream.call.cancel()
        await until(lambda: it.loop.free_slots == 1 and not it.engine.open_sessions)


async def test_a_passed_deadline_ends_the_stream_and_frees_the_slot() -> None:
    async with worker(slots=1) as it:
        stream = await Stream(it, deadline_unix_ms=int(1000 * time.time()) + 50).open()
        code, _ = await stream.failure()

        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: it.loop.free_slots == 1)


async def test_a_cancelled_segment_ends_and_the_next_goes_on() -> None:
    async with worker() as it:
        stream = await Stream(it).open(credit=0)
        await stream.send([1, 2, 3], end=True)
        await put(stream.call, stage_pb2.RunRequest(cancel_segment=stage_pb2.CancelSegment(segment=0)))
        assert (await stream.chunk()).finish_reason == stage_pb2.FINISH_REASON_CANCELLED
        await stream.send([5], segment=1, end=True)
        await stream.credit(5)
        await stream.end()

        assert (await stream.rest())[0] == [10]


async def test_a_resumed_stream_goes_on_at_its_index() -> None:
    async with worker() as it:
        resume = stage_pb2.Resume(segment=3, next_index=2)
        stream = await Stream(it, resume=resume).open()
        await stream.send([7, 8], segment=3, start=2, end=True)
        await stream.end()

        assert (await stream.rest())[0] == [14, 16]


async def test_a_dead_engine_fails_its_callers_as_unavailable() -> None:
    async with worker() as it:
        stream = await Stream(it).open()
        await stream.send([FATAL], end=True)
        code, _ = await stream.failure()

        assert code == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(RuntimeError):
            await it.running
        late = Stream(it)
        await put(late.call, stage_pb2.RunRequest(open=late.opening))
        assert (await late.failure())[0] == grpc.StatusCode.UNAVAILABLE


def bad_tensor(**fields: Any) -> stage_pb2.Chunk:
    return stage_pb2.Chunk(tensors=[stage_pb2.Tensor(**{"name": "ids", "dtype": "int32", **fields})])


BAD_STREAMS: dict[str, tuple[dict[str, Any], stage_pb2.Chunk | None, Reason, str]] = {
    "another model": ({"model": stage_pb2.ModelIdentity(name="other")}, None, Reason.WRONG_MODEL, "open.model.model"),
    "another revision": (
        {"model": stage_pb2.ModelIdentity(name="numbers", revision="r0")},
        None,
        Reason.WRONG_MODEL,
        "open.model.revision",
    ),
    "unknown parameter": ({"params": {"speed": 1.0}}, None, Reason.CAPABILITY_MISSING, "open.params[speed]"),
    "parameter out of range": ({"params": {"factor": 11}}, None, Reason.OUT_OF_RANGE, "open.params[factor]"),
    "parameter not whole": ({"params": {"factor": 1.5}}, None, Reason.OUT_OF_RANGE, "open.params[factor]"),
    "parameter not a number": ({"params": {"factor": math.nan}}, None, Reason.OUT_OF_RANGE, "open.params[factor]"),
    "instruction": ({"instruction": "whisper"}, None, Reason.CAPABILITY_MISSING, "open.instruction"),
    "speaker": ({"speaker": "anna"}, None, Reason.CAPABILITY_MISSING, "open.speaker"),
    "language": ({"language": "fr"}, None, Reason.LANGUAGE_NOT_SUPPORTED, "open.language"),
    "policy out of range": (
        {"policy": stage_pb2.Policy(window_growth=99)},
        None,
        Reason.OUT_OF_RANGE,
        "open.policy.window_growth",
    ),
    "policy that shrinks": (
        {"policy": stage_pb2.Policy(first_window_codes=50, max_window_codes=20)},
        None,
        Reason.FIELD_CONFLICT,
        "open.policy.max_window_codes",
    ),
    "resume before the start": (
        {"resume": stage_pb2.Resume(next_index=-1)},
        None,
        Reason.OUT_OF_RANGE,
        "open.resume.next_index",
    ),
    "unknown option": (
        {"options": [stage_pb2.Tensor(name="x", dtype="int16", shape=[0])]},
        None,
        Reason.TENSOR_INVALID,
        "open.options",
    ),
    "option not finite": (
        {"options": tensors.to_proto({"length": np.array([np.inf])})},
        None,
        Reason.TENSOR_INVALID,
        "open.options[length]",
    ),
    "option twice": (
        {"options": tensors.to_proto({"length": np.ones(1)}) * 2},
        None,
        Reason.TENSOR_INVALID,
        "tensors",
    ),
    "refused by the engine": ({"utterance_id": "unopenable"}, None, Reason.FIELD_INVALID, ""),
    "gap": (
        {},
        stage_pb2.Chunk(start=5, tensors=tensors.to_proto({"ids": np.zeros(1, np.int32)})),
        Reason.FIELD_INVALID,
        "chunk.start",
    ),
    "no tensor": ({}, stage_pb2.Chunk(), Reason.TENSOR_INVALID, "chunk.tensors"),
    "wrong name": ({}, bad_tensor(name="x", shape=[0]), Reason.TENSOR_INVALID, "chunk.tensors"),
    "wrong dtype": (
        {},
        bad_tensor(dtype="int64", shape=[1], data=b"12345678"),
        Reason.TENSOR_INVALID,
        "chunk.tensors[ids]",
    ),
    "unknown dtype": (
        {},
        bad_tensor(dtype="object", shape=[1], data=b"1234"),
        Reason.TENSOR_INVALID,
        "tensors[ids].dtype",
    ),
    "wrong rank": ({}, bad_tensor(shape=[1, 1], data=b"1234"), Reason.TENSOR_INVALID, "chunk.tensors[ids]"),
    "too few bytes": ({}, bad_tensor(shape=[2], data=b"1234"), Reason.TENSOR_INVALID, "tensors[ids].data"),
    "negative shape": ({}, bad_tensor(shape=[-1]), Reason.TENSOR_INVALID, "tensors[ids].shape"),
    "unknown finish reason": (
        {},
        stage_pb2.Chunk(finish_reason=99),  # type: ignore[arg-type]
        Reason.FIELD_INVALID,
        "chunk.finish_reason",
    ),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
async def test_nonsense_gets_a_typed_error_and_leaves_nothing_behind(case: str) -> None:
    fields, chunk, reason, field = BAD_STREAMS[case]
    async with worker() as it:
        stream = Stream(it, **fields)
        await put(stream.call, stage_pb2.RunRequest(open=stream.opening))
        if (await read(stream.call)) is not grpc.aio.EOF:
            await put(stream.call, stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=tensors.to_proto(VOICE))))
            await read(stream.call)
            if chunk is not None:
                await put(stream.call, stage_pb2.RunRequest(chunk=chunk))
        error = await stream.error()

        assert type(error) is (WrongModelError if reason is Reason.WRONG_MODEL else InvalidRequestError)
        assert (error.reason, error.field, error.stage) == (reason, field, "counting")
        assert error.message
        await until(lambda: it.loop.free_slots == 2 and not it.engine.open_sessions)


async def test_a_refused_field_names_the_capability_that_is_missing() -> None:
    async with worker() as it:
        stream = Stream(it, instruction="whisper")
        await put(stream.call, stage_pb2.RunRequest(open=stream.opening))

        assert (await stream.error()).metadata["capability"] == "instruction"


async def test_more_chunks_than_credit_are_refused() -> None:
    async with worker() as it:
        stream = await Stream(it).open(credit=0)
        for index in range(5):
            await stream.send([1], start=index)

        assert (await stream.failure())[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_must_begin_with_open() -> None:
    async with worker() as it:
        stream = Stream(it)
        await put(stream.call, stage_pb2.RunRequest(end=stage_pb2.End()))
        assert (await stream.error()).reason is Reason.CONFIG_MISSING

        silent = Stream(it)
        await silent.call.done_writing()
        assert (await silent.error()).reason is Reason.CONFIG_MISSING


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (stage_pb2.RunRequest(open=stage_pb2.Open()), Reason.CONFIG_REPEATED),
        (stage_pb2.RunRequest(), Reason.MESSAGE_EMPTY),
        (stage_pb2.RunRequest(voice=stage_pb2.Voice()), Reason.FIELD_INVALID),
    ],
    ids=["open", "nothing", "voice"],
)
async def test_after_open_only_work_follows(message: stage_pb2.RunRequest, reason: Reason) -> None:
    async with worker() as it:
        stream = await Stream(it).open()
        await put(stream.call, message)

        assert (await stream.error()).reason is reason


async def test_describe_states_edges_limits_and_needs() -> None:
    async with worker() as it:
        answer = await it.stub.Describe(stage_pb2.DescribeRequest())

        assert answer.stage == "counting"
        assert answer.takes.kind == stage_pb2.EDGE_KIND_TEXT
        assert [spec.name for spec in answer.conditions] == ["total"]
        assert answer.params[0].maximum == 10
        assert list(answer.voice_modes) == [stage_pb2.VOICE_MODE_REFERENCE]
        assert [step.name for step in answer.option_steps] == ["emotion_text"]
        assert list(answer.option_steps[0].gives) == ["length"]


async def test_heartbeat_counts_free_slots() -> None:
    async with worker() as it:
        beats: Any = it.stub.Heartbeat(stage_pb2.HeartbeatRequest())
        assert (await beats.read()).free_slots == 2
        await Stream(it).open()

        assert (await beats.read()).free_slots == 1
        beats.cancel()


async def test_voice_steps_are_computed_by_name() -> None:
    async with worker() as it:
        audio = tensors.to_proto({"audio_22050": np.full(20000, 0.5, np.float32)})
        answer = await it.stub.EncodeVoice(stage_pb2.EncodeVoiceRequest(step="sum", tensors=audio))

        assert tensors.from_proto(answer.tensors)["total"].tolist() == [10000.0]
        with pytest.raises(grpc.aio.AioRpcError, match="not one of"):
            await it.stub.EncodeVoice(stage_pb2.EncodeVoiceRequest(step="no"))


async def test_option_steps_are_computed_by_name_too() -> None:
    async with worker() as it:
        description = tensors.to_proto({"emotion_text": np.frombuffer(b"joyful", np.uint8)})
        answer = await it.stub.EncodeVoice(stage_pb2.EncodeVoiceRequest(step="emotion_text", tensors=description))

        assert tensors.from_proto(answer.tensors)["length"].tolist() == [6.0]


async def test_a_refused_open_followed_by_chunks_hurts_nobody() -> None:
    """The chunk is queued before the engine has refused; only this session may fail."""
    async with worker() as it:
        other = await Stream(it, utterance_id="other").open(credit=0)
        refused = Stream(it, utterance_id="unopenable")
        await put(refused.call, stage_pb2.RunRequest(open=refused.opening))
        await refused.send([1, 2], end=True)
        code, _ = await refused.failure()
        await other.send([4], end=True)
        await other.credit(1)
        await other.end()

        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert (await other.rest())[0] == [8]


async def test_credit_follows_what_was_used_up() -> None:
    """A window of four: the caller is never more than four chunks ahead, and always gets on."""
    async with worker() as it:
        stream = await Stream(it).open(credit=1)
        granted = sent = used = 0
        while used < 12:
            answer = await read(stream.call)
            granted += answer.credit.chunks
            if answer.HasField("chunk"):
                used += 1
                await stream.credit(1)
            assert granted <= used + 4 + 1, "one may be used up whose chunk is still on its way"
            while sent < min(granted, 12):
                await stream.send([sent], start=sent, end=sent == 11)
                sent += 1
        await stream.end()
        await stream.rest()


BAD_VOICE_STEPS: dict[str, Tensors] = {
    "int16": {"audio_22050": np.zeros(22050, np.int16)},
    "two dimensions": {"audio_22050": np.zeros((1, 22050), np.float32)},
    "empty": {"audio_22050": np.zeros(0, np.float32)},
    "too short": {"audio_22050": np.zeros(100, np.float32)},
    "too long": {"audio_22050": np.zeros(22050 * 16, np.float32)},
    "not finite": {"audio_22050": np.full(22050, np.nan, np.float32)},
    "missing": {},
    "unknown": {"audio_22050": np.zeros(22050, np.float32), "more": np.zeros(1, np.float32)},
}


@pytest.mark.parametrize("case", BAD_VOICE_STEPS)
async def test_a_bad_recording_for_a_voice_step_is_refused(case: str) -> None:
    async with worker() as it:
        request = stage_pb2.EncodeVoiceRequest(step="sum", tensors=tensors.to_proto(BAD_VOICE_STEPS[case]))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await it.stub.EncodeVoice(request)
        error = from_rpc_error(failed.value)

        assert type(error) is InvalidRequestError
        assert (error.reason, error.stage) == (Reason.TENSOR_INVALID, "counting")


async def test_voices_are_not_encoded_for_another_revision() -> None:
    async with worker() as it:
        model = stage_pb2.ModelIdentity(name="numbers", revision="r0")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await it.stub.EncodeVoice(stage_pb2.EncodeVoiceRequest(model=model, step="sum"))

        assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION
