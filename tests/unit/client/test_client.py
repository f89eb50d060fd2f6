"""The library against a fake gateway."""

from __future__ import annotations

import asyncio
import hashlib
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import triptych
from triptych import CancelSegment, Client, Emotion, Flush, Render, Sampling
from triptych.text_stream import Piece

from tests.unit.client.fake_server import CHUNK_SAMPLES, RATE, REVISION, Context, FakeGateway, refuse, tone


async def test_a_short_text_comes_back_whole(client: Client, tmp_path: Path) -> None:
    speech = await client.synthesize("Hello there.", seed=7)
    assert speech.samples.dtype == np.int16
    assert speech.samples.tobytes() == tone(7, 0) + tone(7, 1)
    assert speech.utterance.seed == 7
    assert speech.utterance.model_revision == REVISION
    assert speech.segments[0].finish_reason == "stop"
    assert speech.timings.compute_ms == {"gpt": 30}
    assert abs(speech.as_float()).max() < 1
    speech.save(tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, 2 * CHUNK_SAMPLES)


async def test_a_stream_yields_audio_in_order(client: Client) -> None:
    chunks = [audio async for audio in client.synthesize_stream("One. Two.")]
    assert [audio.start_sample for audio in chunks] == [index * CHUNK_SAMPLES for index in range(5)]
    assert [audio.segment for audio in chunks[:4]] == [0, 0, 1, 1]
    assert chunks[0].utterance is not None
    assert chunks[1].segment_end is not None
    assert chunks[1].end_ms == pytest.approx(200)
    assert chunks[-1].is_last
    assert chunks[-1].timings is not None


async def test_every_option_reaches_the_server(client: Client, gateway: FakeGateway) -> None:
    await client.synthesize(
        "Hi.",
        voice="anna",
        model="mini",
        seed=0,
        emotion=Emotion({"happy": 0.5, "calm": 0.25}, weight=0.5, is_normalized=True),
        sampling=Sampling(temperature=0.7, top_p=0.9, top_k=0, repetition_penalty=2, max_codes=9, is_greedy=True),
        render=Render(steps=4, cfg_rate=0, policy="whole", segment_gap_ms=0, max_segment_tokens=30),
        session_id="s",
    )
    (config,) = gateway.configs
    assert (config.voice, config.model, config.session_id) == ("anna", "mini", "s")
    assert config.HasField("seed")
    assert config.seed == 0
    assert (config.emotion.vector.happy, config.emotion.vector.calm, config.emotion.weight) == (
        0.5,
        0.25,
        0.5,
    )
    assert config.emotion.vector.is_normalized
    assert config.sampling.HasField("top_k")
    assert (config.sampling.temperature, config.sampling.max_codes, config.sampling.is_greedy) == (
        0.7,
        9,
        True,
    )
    assert config.render.HasField("segment_gap_ms")
    assert (config.render.steps, config.render.policy, config.render.max_segment_tokens) == (4, "whole", 30)


async def test_what_is_left_out_stays_unset(client: Client, gateway: FakeGateway) -> None:
    await client.synthesize("Hi.")
    (config,) = gateway.configs
    assert config.ByteSize() == 0


async def test_a_recording_is_registered_once(client: Client, gateway: FakeGateway, recording: Path) -> None:
    data = recording.read_bytes()  # noqa: ASYNC240
    for voice in (recording, str(recording), data):
        await client.synthesize("Hi.", voice=voice)
    expected = "sha256-" + hashlib.sha256(data).hexdigest()[:40]
    assert {config.voice for config in gateway.configs} == {expected}
    assert gateway.uploads == 1
    await client.synthesize("Hi.", emotion=Emotion(voice=recording))
    assert gateway.configs[-1].emotion.voice == expected


async def test_voices_can_be_managed(client: Client, recording: Path) -> None:
    voice = await client.voices.create("me", recording)
    assert voice.id == hashlib.sha256(recording.read_bytes()).hexdigest()  # noqa: ASYNC240
    assert await client.voices.get("me") == voice
    assert await client.voices.list() == (voice,)
    with pytest.raises(triptych.AlreadyExistsError):
        await client.voices.create("me", b"RIFF another")
    await client.voices.delete("me")
    with pytest.raises(triptych.NotFoundError):
        await client.voices.get("me")


async def test_models_and_health_are_shown(client: Client, gateway: FakeGateway) -> None:
    (model,) = await client.models()
    assert model == await client.model("mini")
    assert [stage.name for stage in model.stages] == ["gpt", "s2mel", "vocoder"]
    health = await client.health()
    assert health.is_serving
    assert health.stages == {"gpt": True, "s2mel": True, "vocoder": True}
    gateway.health.statuses |= {"tts.v1.TextToSpeech": "NOT_SERVING", "stage.gpt": "NOT_SERVING"}
    health = await client.health()
    assert not health.is_serving
    assert not health.stages["gpt"]


async def _pieces(*pieces: Piece) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def test_text_in_pieces_is_spoken(client: Client, gateway: FakeGateway) -> None:
    pieces = _pieces("Hel", "lo. And", Flush(), CancelSegment(0), " more")
    async with client.stream_text(pieces, seed=5) as stream:
        chunks = [audio async for audio in stream]
    assert gateway.received == ["Hel", "lo. And", "flush", "cancel_segment", " more"]
    assert gateway.configs[0].seed == 5
    assert [audio.segment for audio in chunks[:-1]] == [0, 0, 1, 1, 2, 2]
    assert chunks[-1].is_last


async def test_a_flush_speaks_while_the_text_waits(client: Client, gateway: FakeGateway) -> None:
    more = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "Wait for it"
        await more.wait()
        yield " now"

    stream = client.stream_text(pieces())
    audio = aiter(stream)
    first = asyncio.ensure_future(anext(audio))
    while gateway.received != ["Wait for it"]:
        await asyncio.sleep(0)
    await stream.flush()
    assert (await first).segment == 0
    await stream.cancel_segment(3)
    more.set()
    rest = [chunk async for chunk in stream]
    assert rest[-1].is_last
    assert gateway.received == ["Wait for it", "flush", "cancel_segment", " now"]
    with pytest.raises(triptych.InvalidRequestError, match="ended"):
        await stream.flush()


async def test_a_failing_text_source_fails_its_reader(client: Client, gateway: FakeGateway) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "One."
        while not gateway.received:
            await asyncio.sleep(0.001)
        raise LookupError("no more words")

    with pytest.raises(LookupError, match="no more words"):
        async for _ in client.stream_text(pieces()):
            pass
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_leaving_a_stream_cancels_it(client: Client, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 0.01
    async with client.stream_text(_pieces("Word. " * 500)) as stream:
        async for _ in stream:
            break
    await asyncio.wait_for(gateway.cancelled.wait(), 5)
    gateway.cancelled.clear()
    audio = client.synthesize_stream("Word. " * 500)
    await anext(audio)
    await audio.aclose()
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE", triptych.InvalidRequestError),
        (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE", triptych.TooLargeError),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", triptych.NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_MODEL", triptych.PreconditionError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", triptych.OverloadedError),
        (grpc.StatusCode.UNAVAILABLE, "STAGE_LOST", triptych.UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", triptych.DeadlineError),
        (grpc.StatusCode.CANCELLED, "CANCELLED", triptych.StreamCancelledError),
        (grpc.StatusCode.INTERNAL, "STAGE_FAILED", triptych.InternalError),
        (grpc.StatusCode.UNAUTHENTICATED, "", triptych.NotAllowedError),
        (grpc.StatusCode.UNIMPLEMENTED, "", triptych.UnsupportedError),
    ],
)
async def test_a_refusal_has_a_class_and_says_why(
    client: Client,
    gateway: FakeGateway,
    code: grpc.StatusCode,
    reason: str,
    expected: type[triptych.TtsError],
) -> None:
    async def refusal(context: Context) -> None:
        await refuse(
            context,
            code,
            "because",
            reason=reason,
            field="config.seed",
            retry_seconds=0.25,
            stage="gpt",
            utterance_id="u9",
        )

    gateway.refusal = refusal
    calls: list[Any] = [client.synthesize("Hi."), anext(client.synthesize_stream("Hi."))]
    calls.append(anext(aiter(client.stream_text(_pieces("Hi.")))))
    for call in calls:
        with pytest.raises(triptych.TtsError) as caught:
            await call
        error = caught.value
        assert type(error) is expected
        assert str(error) == "because"
        assert (error.status, error.reason, error.field) == (code.name, reason, "config.seed")
        assert error.retry_after_seconds == 0.25
        assert error.__cause__ is None
        assert error.__suppress_context__
        if reason:
            assert (error.stage, error.utterance_id) == ("gpt", "u9")


async def test_a_refusal_while_text_is_sent_keeps_its_reason(client: Client, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED")

    gateway.refusal = refusal
    for _ in range(50):
        with pytest.raises(triptych.OverloadedError, match="full"):
            await anext(aiter(client.stream_text(_pieces(*["word "] * 100))))


async def test_a_refusal_while_a_recording_is_sent_keeps_its_reason(client: Client) -> None:
    await client.voices.create("me", b"RIFF")
    for _ in range(20):
        with pytest.raises(triptych.AlreadyExistsError, match="taken"):
            await client.voices.create("me", bytes(3_000_000))


def test_every_status_has_a_class() -> None:
    from triptych.errors import _BY_STATUS

    assert set(_BY_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


async def test_no_server_is_said_plainly() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(triptych.UnavailableError, match="^no server answers at 127.0.0.1:1$"):
            await client.models()


async def test_a_deadline_ends_a_call(client: Client, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 5
    with pytest.raises(triptych.DeadlineError, match="time given"):
        async for _ in client.synthesize_stream("One. Two.", timeout=0.2):
            pass


async def test_impossible_requests_never_leave(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(triptych.InvalidRequestError, match="surrogate") as caught:
        await client.synthesize("\ud800")
    assert caught.value.field == "text"
    with pytest.raises(triptych.InvalidRequestError, match="surrogate"):
        await anext(aiter(client.stream_text(_pieces("\udfff"))))
    with pytest.raises(triptych.InvalidRequestError, match="known: happy"):
        await client.synthesize("Hi.", emotion={"bored": 1})
    with pytest.raises(triptych.InvalidRequestError):
        await client.synthesize("Hi.", seed=2**64)
    with pytest.raises(triptych.InvalidRequestError, match="No such file"):
        await client.synthesize("Hi.", voice="./missing.wav")
    assert all(config.ByteSize() == 0 for config in gateway.configs)
