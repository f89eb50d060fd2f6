"""Nonsense, one row each: a typed error that names the field, from every call, and a system that still serves."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest

from protos.tts.v1 import models_pb2, models_pb2_grpc, synthesis_pb2, synthesis_pb2_grpc
from services.common.channels import MAX_MESSAGE_BYTES
from tests.reasons.failures import Failure, failure_of, failure_of_stream
from tests.system.calls import CALLS, WHOLE_TEXT_CALLS, Config, Message, fail_stream, still_serves
from tests.system.conftest import Slots

Sampling, Render, Audio = synthesis_pb2.SamplingConfig, synthesis_pb2.RenderConfig, synthesis_pb2.AudioConfig
Emotion, Vector = synthesis_pb2.Emotion, synthesis_pb2.EmotionVector
Text, Term = synthesis_pb2.TextConfig, synthesis_pb2.GlossaryTerm

NAN, INFINITE = float("nan"), float("inf")
NOT_FOUND = {"VOICE_NOT_FOUND", "MODEL_NOT_FOUND"}


@dataclass(frozen=True)
class Row:
    """A config and what it gets."""

    reason: str
    at: str
    """The field that the error names."""
    config: Config
    capability: str = ""


def out_of_range(at: str, **fields: object) -> Row:
    return Row("OUT_OF_RANGE", at, Config(**fields))  # type: ignore[arg-type]


def missing(capability: str, at: str, **fields: object) -> Row:
    return Row("CAPABILITY_MISSING", at, Config(**fields), capability)  # type: ignore[arg-type]


def glossary(*terms: tuple[str, str]) -> synthesis_pb2.TextConfig:
    return Text(glossary=[Term(term=term, reading=reading) for term, reading in terms])


AT = "config.{}".format
CONFIGS = {
    "unknown voice": Row("VOICE_NOT_FOUND", AT("voice"), Config(voice="nobody")),
    "a path as voice": Row("VOICE_NOT_FOUND", AT("voice"), Config(voice="../../etc/passwd")),
    "unknown model": Row("MODEL_NOT_FOUND", AT("model"), Config(model="gpt-9")),
    "language fr": Row("LANGUAGE_NOT_SUPPORTED", AT("language"), Config(language="fr")),
    "no language": Row("FIELD_INVALID", AT("language"), Config(language="--")),
    "instruction": missing("instruction", AT("instruction"), instruction="Speak softly."),
    "session id": out_of_range(AT("session_id"), session_id="line\nbreak"),
    "session id too long": out_of_range(AT("session_id"), session_id="x" * 129),
    "temperature 0": out_of_range(AT("sampling.temperature"), sampling=Sampling(temperature=0.0)),
    "temperature 99": out_of_range(AT("sampling.temperature"), sampling=Sampling(temperature=99.0)),
    "temperature NaN": out_of_range(AT("sampling.temperature"), sampling=Sampling(temperature=NAN)),
    "top_p 0": out_of_range(AT("sampling.top_p"), sampling=Sampling(top_p=0.0)),
    "top_p 2": out_of_range(AT("sampling.top_p"), sampling=Sampling(top_p=2.0)),
    "top_k too large": out_of_range(AT("sampling.top_k"), sampling=Sampling(top_k=10**6)),
    "penalty 0": out_of_range(AT("sampling.repetition_penalty"), sampling=Sampling(repetition_penalty=0.0)),
    "no codes": out_of_range(AT("sampling.max_codes"), sampling=Sampling(max_codes=0)),
    "too many codes": out_of_range(AT("sampling.max_codes"), sampling=Sampling(max_codes=10**6)),
    "no steps": out_of_range(AT("render.steps"), render=Render(steps=0)),
    "too many steps": out_of_range(AT("render.steps"), render=Render(steps=1000)),
    "cfg_rate -1": out_of_range(AT("render.cfg_rate"), render=Render(cfg_rate=-1.0)),
    "cfg_rate infinite": out_of_range(AT("render.cfg_rate"), render=Render(cfg_rate=INFINITE)),
    "unknown policy": out_of_range(AT("render.policy"), render=Render(policy="warp")),
    "emotion above 1": out_of_range(AT("emotion.vector.happy"), emotion=Emotion(vector=Vector(happy=1.5))),
    "emotion infinite": out_of_range(AT("emotion.vector.sad"), emotion=Emotion(vector=Vector(sad=INFINITE))),
    "emotion weight": out_of_range(AT("emotion.weight"), emotion=Emotion(vector=Vector(happy=1), weight=2.0)),
    "emotion weight NaN": out_of_range(AT("emotion.weight"), emotion=Emotion(voice="amber", weight=NAN)),
    "weight of no emotion": Row("FIELD_CONFLICT", AT("emotion.weight"), Config(emotion=Emotion(weight=0.5))),
    "emotion voice": Row("VOICE_NOT_FOUND", AT("emotion.voice"), Config(emotion=Emotion(voice="nobody"))),
    "emotion of no voice": Row("FIELD_INVALID", AT("emotion.voice"), Config(emotion=Emotion(voice=""))),
    "emotion by text": missing("emotion_text", AT("emotion.text"), emotion=Emotion(text="glad")),
    "rate 0.4": out_of_range(AT("speaking_rate"), speaking_rate=0.4),
    "rate 2.1": out_of_range(AT("speaking_rate"), speaking_rate=2.1),
    "rate NaN": out_of_range(AT("speaking_rate"), speaking_rate=NAN),
    "unknown param": missing("exaggeration", AT("params[exaggeration]"), params={"exaggeration": 1.0}),
    "param that is no name": missing("params", AT("params"), params={"two words": 1.0}),
    "param of the stages alone": Row("FIELD_CONFLICT", AT("params[compat]"), Config(params={"compat": 1.0})),
    "param with a field": Row("FIELD_CONFLICT", AT("params[temperature]"), Config(params={"temperature": 1.0})),
    "param NaN": out_of_range(AT("params[length_penalty]"), params={"length_penalty": NAN}),
    "param infinite": out_of_range(AT("params[length_penalty]"), params={"length_penalty": INFINITE}),
    "param 3": out_of_range(AT("params[length_penalty]"), params={"length_penalty": 3.0}),
    "param no whole number": out_of_range(AT("params[num_beams]"), params={"num_beams": 1.5}),
    "params at odds": Row("FIELD_CONFLICT", AT("params[num_beams]"), Config(params={"num_beams": 2})),
    "param of beams": Row("FIELD_CONFLICT", AT("params[length_penalty]"), Config(params={"length_penalty": 1.0})),
    "greedy with top_k": Row(
        "FIELD_CONFLICT", AT("sampling.top_k"), Config(sampling=Sampling(top_k=5, is_greedy=True))
    ),
    "first audio in no time": out_of_range(AT("max_first_audio_ms"), max_first_audio_ms=0),
    "first audio too late": out_of_range(AT("max_first_audio_ms"), max_first_audio_ms=600_001),
    "priority 9": out_of_range(AT("priority"), priority=9),
    "encoding 99": out_of_range(AT("audio.encoding"), audio=Audio(encoding=99)),  # type: ignore[arg-type]
    "7999 Hz": out_of_range(AT("audio.sample_rate_hz"), audio=Audio(sample_rate_hz=7_999)),
    "48001 Hz": out_of_range(AT("audio.sample_rate_hz"), audio=Audio(sample_rate_hz=48_001)),
    "chunk of 19 ms": out_of_range(AT("audio.chunk_ms"), audio=Audio(chunk_ms=19)),
    "chunk of 101 ms": out_of_range(AT("audio.chunk_ms"), audio=Audio(chunk_ms=101)),
    "gap of 2001 ms": out_of_range(AT("audio.segment_gap_ms"), audio=Audio(segment_gap_ms=2_001)),
    "tail of 2001 ms": out_of_range(AT("audio.tail_silence_ms"), audio=Audio(tail_silence_ms=2_001)),
    "9 tokens": out_of_range(AT("text.max_segment_tokens"), text=Text(max_segment_tokens=9)),
    "too many tokens": out_of_range(AT("text.max_segment_tokens"), text=Text(max_segment_tokens=100_000)),
    "unknown rule": out_of_range(AT("text.disabled_rules"), text=Text(disabled_rules=["links", "hum"])),
    "101 terms": out_of_range(AT("text.glossary"), text=glossary(*((f"t{i}", "one") for i in range(101)))),
    "empty term": out_of_range(AT("text.glossary"), text=glossary((" ", "one"))),
    "empty reading": out_of_range(AT("text.glossary"), text=glossary(("one", ""))),
    "term too long": out_of_range(AT("text.glossary"), text=glossary(("x" * 65, "one"))),
    "reading too long": out_of_range(AT("text.glossary"), text=glossary(("one", "x" * 257))),
    "term twice": Row("FIELD_CONFLICT", AT("text.glossary"), Config(text=glossary(("One", "a"), ("one", "b")))),
    "term with a bell": Row("TEXT_BAD_CHARACTER", AT("text.glossary"), Config(text=glossary(("\x07", "bell")))),
    "published way with a language": Row(
        "FIELD_CONFLICT", AT("language"), Config(language="en", render=Render(policy="compat"))
    ),
}

BORDERS = {
    "lowest": Config(
        speaking_rate=0.5,
        sampling=Sampling(temperature=0.1, top_k=0, repetition_penalty=0.1, max_codes=1),
        render=Render(steps=1, cfg_rate=0.0),
        params={"num_beams": 1},
        audio=Audio(sample_rate_hz=8_000, chunk_ms=20, segment_gap_ms=0, tail_silence_ms=0),
        text=Text(max_segment_tokens=10, glossary=[Term(term="x", reading="y")]),
        emotion=Emotion(vector=Vector(happy=0.0), weight=0.0),
    ),
    "highest": Config(
        speaking_rate=2.0,
        max_first_audio_ms=600_000,
        session_id="x" * 128,
        priority=synthesis_pb2.PRIORITY_BATCH,
        sampling=Sampling(temperature=2.0, top_p=1.0, repetition_penalty=20.0),
        render=Render(steps=100, cfg_rate=3.0),
        audio=Audio(
            encoding=synthesis_pb2.AUDIO_ENCODING_WAV,
            sample_rate_hz=48_000,
            chunk_ms=100,
            segment_gap_ms=2_000,
            tail_silence_ms=2_000,
        ),
        text=glossary(*((f"{i:064}", "y" * 256) for i in range(100))),
        emotion=Emotion(vector=Vector(happy=1.0), weight=1.0),
    ),
    "as the model likes": Config(audio=Audio(sample_rate_hz=0, chunk_ms=0)),
}

CONTROLS = ("\0", "\x07", "\x08", "\x1b", "\x7f", "\x9f")
TEXTS = {
    "no text": ("TEXT_EMPTY", ""),
    "white space": ("TEXT_EMPTY", " \n\t "),
    "punctuation": ("TEXT_NOT_SPEAKABLE", "?!... --- ,,,"),
    "emoji": ("TEXT_NOT_SPEAKABLE", "\U0001f600\U0001f680"),
    **{f"U+{ord(control):04X}": ("TEXT_BAD_CHARACTER", f"Hello{control}there") for control in CONTROLS},
    "too long": ("TEXT_TOO_LONG", "word " * 4001),
    "100 kB without a space": ("TEXT_TOO_LONG", "a" * 100_000),
    "Chinese": ("LANGUAGE_NOT_SUPPORTED", "今天天气很好，我们去公园散步吧。"),
    "Cyrillic": ("LANGUAGE_NOT_SUPPORTED", "Сегодня хорошая погода."),
}

BEGINNING = Message(config=Config())
STREAMS: dict[str, tuple[str, str, list[Message]]] = {
    "first message without config": ("CONFIG_MISSING", "config", [Message(text="Hello there.")]),
    "config twice": ("CONFIG_REPEATED", "config", [BEGINNING, Message(text="Hello there. "), BEGINNING]),
    "no message": ("CONFIG_MISSING", "config", []),
    "an empty message": ("CONFIG_MISSING", "config", [Message()]),
    "an empty message later": ("MESSAGE_EMPTY", "message", [BEGINNING, Message()]),
    "config alone": ("TEXT_EMPTY", "text", [BEGINNING]),
    "flushes alone": ("TEXT_EMPTY", "text", [BEGINNING, Message(flush=synthesis_pb2.Flush())]),
    "nothing to speak": ("TEXT_NOT_SPEAKABLE", "text", [BEGINNING, Message(text="...")]),
    "white space alone": ("TEXT_EMPTY", "text", [BEGINNING, Message(text=" "), Message(text="\n")]),
    "a control character": ("TEXT_BAD_CHARACTER", "text", [BEGINNING, Message(text="Hello\x1b.")]),
    "a long message": ("TEXT_TOO_LONG", "text", [BEGINNING, Message(text="word " * 4001)]),
    "another language": ("LANGUAGE_NOT_SUPPORTED", "text", [BEGINNING, Message(text="Сегодня хорошая погода. ")]),
    "the published way": (
        "FIELD_CONFLICT",
        "config.render.policy",
        [Message(config=Config(render=Render(policy="compat"))), Message(text="Hello there.")],
    ),
}


def check(failure: Failure, reason: str, at: str) -> None:
    status = "NOT_FOUND" if reason in NOT_FOUND else "INVALID_ARGUMENT"
    assert (failure.status, failure.reason, failure.violations) == (status, reason, (at,)), failure.message
    assert failure.message
    assert failure.metadata["utterance_id"]


@pytest.mark.parametrize("name", CONFIGS)
async def test_a_bad_config_is_refused_by_every_call(channel: grpc.aio.Channel, slots: Slots, name: str) -> None:
    row = CONFIGS[name]
    for call in CALLS.values():
        failure = await call(channel, row.config, "Hello there.")
        check(failure, row.reason, row.at)
        assert failure.metadata.get("capability", "") == row.capability
    await still_serves(channel, slots)


@pytest.mark.parametrize("name", BORDERS)
async def test_what_is_just_allowed_is_taken(channel: grpc.aio.Channel, name: str) -> None:
    request = synthesis_pb2.AnalyzeRequest(config=BORDERS[name], text="Hello there.")

    assert (await synthesis_pb2_grpc.TextToSpeechStub(channel).Analyze(request)).segments


@pytest.mark.parametrize("name", TEXTS)
async def test_a_bad_text_is_refused_by_every_call(channel: grpc.aio.Channel, slots: Slots, name: str) -> None:
    reason, text = TEXTS[name]
    for call in WHOLE_TEXT_CALLS.values():
        failure = await call(channel, Config(), text)
        check(failure, reason, "text")
        assert not text.strip() or text not in failure.message
    await still_serves(channel, slots)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_bad_stream_is_refused(channel: grpc.aio.Channel, slots: Slots, name: str) -> None:
    reason, at, messages = STREAMS[name]
    check(await fail_stream(channel, *messages), reason, at)
    await still_serves(channel, slots)


async def test_control_characters_that_are_white_space_are_taken(channel: grpc.aio.Channel) -> None:
    text = "Hello\tthere,\r\nyou\x0band\x0cyou\x85too."
    request = synthesis_pb2.SynthesizeRequest(text=text, config=Config(render=Render(steps=2)))
    speech = await synthesis_pb2_grpc.TextToSpeechStub(channel).Synthesize(request)

    assert speech.audio
    assert speech.segments[-1].text_span.end == len(text)


async def fail_bytes(channel: grpc.aio.Channel, method: str, request: bytes) -> Failure:
    """How a call of TextToSpeech with one message ends, sent as it is."""
    path = f"/tts.v1.TextToSpeech/{method}"
    match method:
        case "Synthesize" | "Analyze":
            unary = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            return await failure_of(unary(request))
        case "SynthesizeStream":
            stream = channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
            return await failure_of_stream(stream(request))
        case _:
            both = channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
            return await failure_of_stream(both(iter([request])))


@pytest.mark.parametrize("method", CALLS)
async def test_what_is_no_message_or_too_large_is_refused(channel: grpc.aio.Channel, slots: Slots, method: str) -> None:
    """The client's own messages cannot carry a lone surrogate: these are bytes that are no UTF-8."""
    surrogate = b"Hi \xed\xa0\x80"
    for reason, request in {
        "NOT_DECODABLE": b"\x12" + bytes([len(surrogate)]) + surrogate,
        "MESSAGE_TOO_LARGE": bytes(MAX_MESSAGE_BYTES + 1),
    }.items():
        failure = await fail_bytes(channel, method, request)
        assert (failure.status, failure.reason) == ("INVALID_ARGUMENT", reason)
        assert failure.violations == ("request",)
    await still_serves(channel, slots)


async def test_an_unknown_model_is_not_found(channel: grpc.aio.Channel) -> None:
    failure = await failure_of(models_pb2_grpc.ModelsStub(channel).Get(models_pb2.GetModelRequest(name="none")))

    assert (failure.status, failure.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert failure.violations == ("name",)
    assert "mini" in failure.message
