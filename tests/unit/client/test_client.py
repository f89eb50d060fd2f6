"""The asyncio library against a fake gateway."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import triptych
from triptych import (
    AsyncClient,
    CancelSegment,
    Emotion,
    Flush,
    Options,
    Piece,
    Recording,
    Render,
    Sampling,
    TextSpan,
    async_client,
)

from tests.unit.client.fake_server import CHUNK_SAMPLES, RATE, REVISION, Context, FakeGateway, floats, refuse, tone


async def test_a_short_text_comes_back_whole(client: AsyncClient, tmp_path: Path) -> None:
    speech = await client.synthesize("Hello there.", seed=7)

    assert speech.samples.dtype == np.float32
    assert np.array_equal(speech.samples, floats(tone(7, 0), tone(7, 1)))
    assert speech.data == tone(7, 0) + tone(7, 1)
    assert speech.duration_seconds == pytest.approx(0.2)
    assert speech.utterance.seed == 7
    assert speech.utterance.model_revision == REVISION
    assert (speech.utterance.language, speech.utterance.encoding) == ("en", "linear16")
    assert speech.segments[0].finish_reason == "stop"
    assert speech.segments[0].text_span == TextSpan(0, 12)
    assert [(warning.reason, warning.text_span) for warning in speech.warnings] == [("unknown_character", (0, 1))]
    assert speech.timings.compute_ms == {"gpt": 30}
    assert (speech.timings.first_token_ms, speech.timings.queue_ms) == (4, 1.5)
    assert speech.usage == triptych.Usage(characters=9, text_tokens=4, codes=10, audio_seconds=0.2)


async def test_a_saved_speech_is_what_was_sent(client: AsyncClient, tmp_path: Path) -> None:
    speech = await client.synthesize("Hello there.", seed=7)
    speech.save(tmp_path / "a.wav")

    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, 2 * CHUNK_SAMPLES)
        assert file.readframes(2 * CHUNK_SAMPLES) == speech.data


async def test_a_stream_yields_audio_in_order(client: AsyncClient) -> None:
    chunks = [audio async for audio in client.synthesize_stream("One. Two.")]

    assert [audio.start_sample for audio in chunks] == [index * CHUNK_SAMPLES for index in range(5)]
    assert [audio.segment for audio in chunks[:4]] == [0, 0, 1, 1]
    assert [audio.text_span for audio in chunks[:4]] == [(0, 4), (0, 4), (4, 9), (4, 9)]
    assert chunks[0].utterance is not None
    assert [segment.index for audio in chunks for segment in audio.segment_ends] == [0, 1]
    assert chunks[1].start_ms == pytest.approx(100)
    assert chunks[1].end_ms == pytest.approx(200)
    assert np.array_equal(chunks[1].samples, floats(chunks[1].data))
    assert chunks[-1].is_last
    assert chunks[-1].timings is not None
    assert chunks[-1].usage is not None


async def test_every_option_reaches_the_server(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.synthesize(
        "Hi.",
        voice="anna",
        model="mini",
        language="en-GB",
        instruction="like a whisper",
        seed=0,
        session_id="s",
        emotion=Emotion({"happy": 0.5, "calm": 0.25}, weight=0.5, is_normalized=True),
        speaking_rate=1.5,
        priority="batch",
        max_first_audio_ms=400,
        sampling=Sampling(temperature=0.7, top_p=0.9, top_k=0, repetition_penalty=2, max_codes=9, is_greedy=True),
        render=Render(steps=4, cfg_rate=0, policy="whole"),
        params={"exaggeration": 0.5},
        glossary={"SQL": "sequel"},
        disabled_rules=["numbers"],
        max_segment_tokens=30,
        encoding="wav",
        sample_rate_hz=16000,
        chunk_ms=0,
        segment_gap_ms=0,
        tail_silence_ms=10,
    )

    (config,) = gateway.configs
    assert [field.name for field, _ in config.ListFields()] == [
        field.name for field in config.DESCRIPTOR.fields if field.name != "recording"
    ]
    assert (config.voice, config.model, config.language, config.session_id) == ("anna", "mini", "en-GB", "s")
    assert (config.instruction, config.seed, config.speaking_rate) == ("like a whisper", 0, 1.5)
    assert (config.priority, config.max_first_audio_ms, dict(config.params)) == (2, 400, {"exaggeration": 0.5})
    vector = config.emotion.vector
    assert (vector.happy, vector.calm, vector.is_normalized, config.emotion.weight) == (0.5, 0.25, True, 0.5)
    sampling = config.sampling
    assert (sampling.temperature, sampling.top_p, sampling.repetition_penalty) == (0.7, 0.9, 2)
    assert (sampling.HasField("top_k"), sampling.max_codes, sampling.is_greedy) == (True, 9, True)
    assert (config.render.steps, config.render.HasField("cfg_rate"), config.render.policy) == (4, True, "whole")
    assert [(term.term, term.reading) for term in config.text.glossary] == [("SQL", "sequel")]
    assert (list(config.text.disabled_rules), config.text.max_segment_tokens) == (["numbers"], 30)
    audio = config.audio
    assert (audio.encoding, audio.sample_rate_hz, audio.tail_silence_ms) == (5, 16000, 10)
    assert (audio.HasField("chunk_ms"), audio.HasField("segment_gap_ms")) == (True, True)


async def test_what_is_left_out_stays_unset(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.synthesize("Hi.")

    (config,) = gateway.configs
    assert config.ByteSize() == 0


async def test_an_emotion_may_be_described(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.synthesize("Hi.", emotion=Emotion(text="as if it were late", weight=0))

    (config,) = gateway.configs
    assert config.emotion.text == "as if it were late"
    assert config.emotion.HasField("weight")


async def test_a_recording_goes_with_the_request(client: AsyncClient, gateway: FakeGateway, recording: Path) -> None:
    data = recording.read_bytes()  # noqa: ASYNC240
    voices = (recording, str(recording), data, Recording.from_file(recording))
    for voice in voices:
        await client.synthesize("Hi.", voice=voice)

    assert [config.recording.audio for config in gateway.configs] == [data] * len(voices)
    assert gateway.uploads == 0


async def test_a_recording_of_an_emotion_is_registered_once(
    client: AsyncClient, gateway: FakeGateway, recording: Path
) -> None:
    for _ in range(2):
        await client.synthesize("Hi.", emotion=Emotion(voice=recording))

    digest = hashlib.sha256(recording.read_bytes()).hexdigest()  # noqa: ASYNC240
    assert [config.emotion.voice for config in gateway.configs] == [digest, digest]
    assert list(gateway.voices) == ["sha256-" + digest[:40]]
    assert gateway.uploads == 1


async def test_a_recording_of_an_emotion_that_has_a_name_keeps_it(
    client: AsyncClient, gateway: FakeGateway, recording: Path
) -> None:
    voice = await client.voices.create("me", recording)
    await client.synthesize("Hi.", emotion=Emotion(voice=recording))

    assert gateway.configs[0].emotion.voice == voice.id
    assert list(gateway.voices) == ["me"]
    assert await client.voices.of_recording(recording) == voice


async def test_voices_can_be_managed(client: AsyncClient, gateway: FakeGateway, recording: Path) -> None:
    voice = await client.voices.create("me", recording, transcript="so I said", description="at home")

    assert voice.id == hashlib.sha256(recording.read_bytes()).hexdigest()  # noqa: ASYNC240
    assert (voice.source, voice.transcript, voice.description) == ("registered", "so I said", "at home")
    assert voice.warnings == (triptych.VoiceWarning("noisy", "it is noisy"),)
    assert await client.voices.get("me") == voice
    assert await client.voices.list() == (voice,)
    with pytest.raises(triptych.ConfigError, match="taken"):
        await client.voices.create("me", b"RIFF another")

    renamed = await client.voices.update("me", new_name="you", description="")
    assert (renamed.name, renamed.transcript, renamed.description) == ("you", "so I said", "")
    assert await client.voices.set_default("you") == renamed
    assert await client.voices.default() == renamed

    await client.voices.delete("you")
    with pytest.raises(triptych.ConfigError) as missing:
        await client.voices.get("you")
    assert missing.value.reason == "VOICE_NOT_FOUND"


async def test_models_status_and_health_are_shown(client: AsyncClient, gateway: FakeGateway) -> None:
    (model,) = await client.models()
    assert model == await client.model("mini") == await client.model()
    assert [stage.name for stage in model.stages] == ["gpt", "s2mel", "vocoder"]
    assert model.parameters[0].field == "config.render.steps"
    assert (model.voice_modes, model.encodings) == (("reference",), ("linear16", "wav"))
    assert (model.policies, model.text_rules) == (("balanced", "whole"), ("numbers",))
    assert model.limits.max_inline_voice_bytes == 10_000_000
    balanced, whole = model.policy_numbers
    assert (balanced.name, balanced.first_window_codes, balanced.window_growth) == ("balanced", 20, 2.0)
    assert (balanced.vocoder_look_ahead_frames, balanced.params) == (8, {"top_k": 4.0})
    assert (whole.name, whole.is_whole) == ("whole", True)

    status = await client.status()
    assert (status.version, status.is_serving, status.uptime_seconds, status.max_queue) == ("0.1.0", True, 7, 2)
    (worker,) = status.models[0].stages[0].workers
    assert (worker.state, worker.memory_used_bytes, worker.free_slots) == ("draining", 5, 3)

    health = await client.health()
    assert health.is_serving
    assert health.stages == {"gpt": True, "s2mel": True, "vocoder": True}
    gateway.health.statuses |= {"tts.v1.TextToSpeech": "NOT_SERVING", "stage.gpt": "NOT_SERVING"}
    health = await client.health()
    assert not health.is_serving
    assert not health.stages["gpt"]


async def test_a_text_can_be_analysed(client: AsyncClient, gateway: FakeGateway) -> None:
    analysis = await client.analyze("Hi.", language="en")

    assert gateway.configs[0].language == "en"
    assert (analysis.model, analysis.language, analysis.normalized_text) == ("mini", "en", "HI.")
    (segment,) = analysis.segments
    assert segment.tokens == (triptych.Token(3, "▁HI", TextSpan(0, 3)),)
    assert segment.codes == ()
    assert analysis.utterance is None

    analysis = await client.analyze("Hi.", with_codes=True)
    assert analysis.segments[0].codes == (5, 6)
    assert analysis.utterance is not None


async def _pieces(*pieces: Piece) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def test_text_in_pieces_is_spoken(client: AsyncClient, gateway: FakeGateway) -> None:
    pieces = _pieces("Hel", "lo. And", Flush(), CancelSegment(0), " more")
    async with client.stream_text(pieces, seed=5) as stream:
        chunks = [audio async for audio in stream]

    assert gateway.received == ["Hel", "lo. And", "flush", "cancel_segment", " more"]
    assert gateway.configs[0].seed == 5
    assert [audio.segment for audio in chunks[:-1]] == [0, 0, 1, 1, 2, 2]
    assert chunks[-1].is_last


async def test_a_flush_speaks_while_the_text_waits(client: AsyncClient, gateway: FakeGateway) -> None:
    more = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "Wait for it"
        await more.wait()
        yield " now"

    stream = client.stream_text(pieces())
    first = asyncio.ensure_future(anext(stream))
    while gateway.received != ["Wait for it"]:
        await asyncio.sleep(0)
    await stream.flush()
    assert (await first).segment == 0
    await stream.cancel_segment(3)
    more.set()
    rest = [chunk async for chunk in stream]

    assert rest[-1].is_last
    assert gateway.received == ["Wait for it", "flush", "cancel_segment", " now"]
    with pytest.raises(triptych.ConfigError, match="ended"):
        await stream.flush()


async def test_text_is_taken_no_faster_than_it_is_sent(client: AsyncClient, gateway: FakeGateway) -> None:
    taken = 0

    async def pieces() -> AsyncIterator[str]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield "Word. "

    async def refusal(context: Context) -> None:
        await asyncio.Event().wait()

    gateway.refusal = refusal
    stream = client.stream_text(pieces())
    reader = asyncio.ensure_future(anext(stream))
    while not gateway.configs:
        await asyncio.sleep(0)
    await stream.aclose()

    with pytest.raises(StopAsyncIteration):
        await reader
    # gRPC takes some before it says that the server reads no more.
    assert taken < 1000


async def test_a_failing_text_source_fails_its_reader(client: AsyncClient, gateway: FakeGateway) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "One."
        while not gateway.received:
            await asyncio.sleep(0.001)
        raise LookupError("no more words")

    with pytest.raises(LookupError, match="no more words"):
        async for _ in client.stream_text(pieces()):
            pass
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_leaving_a_stream_cancels_it(client: AsyncClient, gateway: FakeGateway) -> None:
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
    assert [more async for more in audio] == []


@pytest.mark.parametrize("is_text", [False, True])
async def test_letting_go_of_a_stream_cancels_it(client: AsyncClient, gateway: FakeGateway, is_text: bool) -> None:
    gateway.chunk_seconds = 0.01
    words = "Word. " * 500
    gc.disable()
    try:
        async for _ in client.stream_text(_pieces(words)) if is_text else client.synthesize_stream(words):
            break
        await asyncio.wait_for(gateway.cancelled.wait(), 5)
    finally:
        gc.enable()


async def test_closing_a_stream_ends_its_reader(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 60
    stream = client.synthesize_stream("One.")
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await stream.aclose()

    with pytest.raises(StopAsyncIteration):
        await reader


async def test_closing_a_stream_that_opens_cancels_it(
    client: AsyncClient, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = asyncio.Event(), asyncio.Event()

    async def slow_source(voice: object) -> None:
        opening.set()
        await go_on.wait()

    monkeypatch.setattr(async_client, "voice_source", slow_source)
    gateway.chunk_seconds = 60
    for stream in (client.synthesize_stream("One."), client.stream_text(_pieces("One."))):
        opening.clear()
        go_on.clear()
        reader = asyncio.ensure_future(anext(stream))
        await opening.wait()
        closing = asyncio.ensure_future(stream.aclose())
        await asyncio.sleep(0)
        go_on.set()

        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(reader, 5)
        await asyncio.wait_for(closing, 5)


async def test_a_cancelled_reader_is_cancelled(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 60
    stream = client.synthesize_stream("One.")
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.wait_for(gateway.cancelled.wait(), 5)


async def test_a_refusal_while_text_is_sent_keeps_its_reason(client: AsyncClient, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED", category="QOS")

    gateway.refusal = refusal
    for _ in range(50):
        with pytest.raises(triptych.QosError, match="full"):
            await anext(client.stream_text(_pieces(*["word "] * 100)))


async def test_a_refusal_while_a_recording_is_sent_keeps_its_reason(client: AsyncClient) -> None:
    await client.voices.create("me", b"RIFF")
    for _ in range(20):
        with pytest.raises(triptych.ConfigError, match="taken"):
            await client.voices.create("me", bytes(3_000_000))


async def test_a_deadline_ends_a_call(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 5
    with pytest.raises(triptych.DeadlineError, match="time given"):
        async for _ in client.synthesize_stream("One. Two.", timeout=0.2):
            pass


async def test_impossible_requests_never_leave(client: AsyncClient, gateway: FakeGateway) -> None:
    with pytest.raises(triptych.TokenizerError, match="surrogate") as caught:
        await client.synthesize("\ud800")
    assert caught.value.field == "text"
    with pytest.raises(triptych.TokenizerError, match="surrogate"):
        await anext(client.stream_text(_pieces("\udfff")))
    with pytest.raises(triptych.ConfigError, match="known: happy"):
        await client.synthesize("Hi.", emotion={"bored": 1})
    with pytest.raises(triptych.ConfigError, match="one of: strengths"):
        await client.synthesize("Hi.", emotion=Emotion({"happy": 1}, text="gladly"))
    with pytest.raises(triptych.ConfigError, match="config.audio.encoding is one of: linear16, float32"):
        await client.synthesize("Hi.", encoding="mp3")  # type: ignore[arg-type]
    with pytest.raises(triptych.ConfigError, match="config.priority is one of: interactive, batch"):
        await client.synthesize("Hi.", priority="now")  # type: ignore[arg-type]
    with pytest.raises(triptych.IoError, match="No such file"):
        await client.synthesize("Hi.", voice="./missing.wav")
    with pytest.raises(triptych.AudioError, match=r"30.0 MB; at most 30 MB .* voices.create"):
        await client.synthesize("Hi.", voice=bytes(30_000_001))
    with pytest.raises(TypeError, match="unexpected keyword argument 'vioce'"):
        await client.synthesize("Hi.", vioce="anna")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'vioce'"):
        client.synthesize_stream("Hi.", vioce="anna")  # type: ignore[call-arg]
    assert all(config.ByteSize() == 0 for config in gateway.configs)


@pytest.mark.parametrize(
    ("emotion", "message"),
    [
        (Emotion(), "exactly one of: strengths, a voice, a text"),
        (Emotion(weight=0.5), "exactly one of"),
        (Emotion({"happy": 1}, text="gladly"), "exactly one of"),
        (Emotion({"happy": 1}, voice=b"RIFF"), "exactly one of"),
        (Emotion(voice="anna", is_normalized=True), "is_normalized"),
        (Emotion(text="gladly", is_normalized=True), "is_normalized"),
    ],
)
async def test_an_emotion_of_which_something_would_be_dropped_is_refused(
    client: AsyncClient, gateway: FakeGateway, emotion: Emotion, message: str
) -> None:
    with pytest.raises(triptych.ConfigError, match=message) as caught:
        await client.synthesize("Hi.", emotion=emotion)
    assert (caught.value.reason, caught.value.field) == ("FIELD_CONFLICT", "config.emotion")
    assert (gateway.configs, gateway.uploads) == ([], 0)


async def test_an_empty_voice_is_not_the_default_one(client: AsyncClient, gateway: FakeGateway) -> None:
    with pytest.raises(triptych.AudioError) as empty:
        await client.synthesize("Hi.", voice=b"")
    assert empty.value.reason == "RECORDING_EMPTY"
    with pytest.raises(triptych.ConfigError, match="leave it out for the default voice") as nameless:
        await client.synthesize("Hi.", voice="")
    assert nameless.value.field == "config.voice"
    with pytest.raises(triptych.ConfigError, match="leave it out") as nameless:
        await client.synthesize("Hi.", emotion=Emotion(voice=""))
    assert nameless.value.field == "config.emotion.voice"
    assert gateway.configs == []


async def test_a_recording_beyond_the_published_limit_is_the_servers_to_refuse(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    await client.synthesize("Hi.", voice=b"RIFF" + bytes(10_000_000))
    assert len(gateway.configs[0].recording.audio) == 10_000_004


async def test_none_is_the_same_as_left_out(client: AsyncClient, gateway: FakeGateway) -> None:
    nothing: Any = dict.fromkeys(Options.__annotations__)
    await client.synthesize("Hi.", **nothing)
    async for _ in client.synthesize_stream("Hi.", **nothing):
        pass
    async for _ in client.stream_text(_pieces("Hi."), **nothing):
        pass
    await client.analyze("Hi.", **nothing)
    assert [config.ByteSize() for config in gateway.configs] == [0] * 4


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"seed": -1}, "config.seed", "^seed is a whole number from 0 to 18446744073709551615$"),
        ({"seed": 2**64}, "config.seed", "^seed is a whole number from 0 to 18446744073709551615$"),
        ({"chunk_ms": -1}, "config.audio.chunk_ms", "^chunk_ms is a whole number from 0 to 4294967295$"),
        ({"max_segment_tokens": -1}, "config.text.max_segment_tokens", "^max_segment_tokens is a whole number from 0"),
        ({"sampling": Sampling(top_k=-1)}, "config.sampling.top_k", "^sampling.top_k is a whole number from 0"),
        ({"render": Render(steps=2**32)}, "config.render.steps", "^render.steps is a whole number from 0"),
        ({"language": "\ud800"}, "config.language", "^language is text without half a character"),
    ],
)
async def test_a_value_that_no_message_holds_is_named(
    client: AsyncClient, gateway: FakeGateway, options: Any, field: str, message: str
) -> None:
    with pytest.raises(triptych.ConfigError, match=message) as caught:
        await client.synthesize("Hi.", **options)
    assert (caught.value.reason, caught.value.field) == ("OUT_OF_RANGE", field)
    assert gateway.configs == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glossary": [("SQL", "sequel")]}, "^glossary is a mapping of terms to readings, not list$"),
        ({"glossary": {"SQL": 5}}, "^glossary.reading is a str, not int$"),
        ({"disabled_rules": "numbers"}, "^disabled_rules is a sequence of names, not str$"),
        ({"disabled_rules": [5]}, "^each of disabled_rules is a str, not int$"),
        ({"sampling": {"top_k": 5}}, "^sampling is a Sampling, not dict$"),
        ({"sampling": Sampling(temperature="hot")}, "^sampling.temperature is a number, not str$"),  # type: ignore[arg-type]
        ({"render": "whole"}, "^render is a Render, not str$"),
        ({"emotion": "happy"}, "^emotion is an Emotion or a mapping of strengths by name, not str$"),
        ({"emotion": {"happy": "very"}}, "^emotion.happy is a number, not str$"),
        ({"params": [1]}, "^params is a mapping of numbers by name, not list$"),
        ({"params": {"a": "b"}}, r"^params\[a\] is a number, not str$"),
        ({"seed": 1.5}, "^seed is a whole number, not float$"),
        ({"model": 5}, "^model is a str, not int$"),
        ({"timeout": "5"}, "^timeout is a number of seconds, not str$"),
        ({"voice": 5}, "^a recording is a path, bytes or a Recording, not int$"),
        ({"voice": np.zeros(9)}, r"wrap them in Recording\(samples, sample_rate_hz\)$"),
    ],
)
async def test_an_option_of_the_wrong_kind_is_named(
    client: AsyncClient, gateway: FakeGateway, options: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await client.synthesize("Hi.", **options)
    assert gateway.configs == []


@pytest.mark.parametrize("text", [b"Hi.", None])
async def test_a_text_of_the_wrong_kind_is_named(client: AsyncClient, gateway: FakeGateway, text: Any) -> None:
    message = f"^text is a str, not {type(text).__name__}$"
    for call in (client.synthesize(text), client.analyze(text), anext(client.synthesize_stream(text))):
        with pytest.raises(TypeError, match=message):
            await call
    assert gateway.configs == []


async def test_numbers_of_numpy_are_numbers(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.synthesize("Hi.", seed=np.int64(7), speaking_rate=np.float32(1.5), params={"a": np.float64(2)})  # type: ignore[arg-type]
    (config,) = gateway.configs
    assert (config.seed, config.speaking_rate, dict(config.params)) == (7, 1.5, {"a": 2})


def test_the_types_of_options_are_at_the_top() -> None:
    assert {"RecordingLike", "VoiceLike", "EMOTIONS"} <= set(triptych.__all__)
    assert triptych.EMOTIONS[0] == "happy"
