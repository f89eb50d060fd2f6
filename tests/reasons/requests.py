"""Requests that are wrong by themselves: fields, texts and the order of messages."""

from __future__ import annotations

from typing import Any

import grpc

from protos.tts.v1 import synthesis_pb2, voices_pb2
from services.common.channels import MAX_MESSAGE_BYTES
from services.common.reasons import Reason
from tests.reasons.failures import Failure, failure_of, failure_of_messages
from tests.reasons.table import Config, Message, Place, reaches, speech


@reaches(Reason.FIELD_INVALID, field="name")
async def name_nothing(place: Place) -> Failure:
    return await failure_of(place.system.voices.Get(voices_pb2.GetVoiceRequest()))


@reaches(Reason.OUT_OF_RANGE, field="config.speaking_rate", is_utterance=True)
async def speak_too_fast(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech("One.", speaking_rate=2.1)))


@reaches(Reason.FIELD_CONFLICT, field="config.emotion.weight", is_utterance=True)
async def weigh_no_emotion(place: Place) -> Failure:
    emotion = synthesis_pb2.Emotion(weight=0.5)
    return await failure_of(place.system.speech.Synthesize(speech("One.", emotion=emotion)))


@reaches(Reason.MODEL_NOT_FOUND, field="config.model", is_utterance=True)
async def ask_for_another_model(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech("One.", model="another")))


@reaches(Reason.CAPABILITY_MISSING, field="config.instruction", is_utterance=True)
async def instruct(place: Place) -> Failure:
    failure = await failure_of(place.system.speech.Synthesize(speech("One.", instruction="Softly.")))
    assert failure.metadata["capability"] == "instruction"
    return failure


@reaches(Reason.CONFIG_MISSING, field="config", is_utterance=True)
async def stream_text_first(place: Place) -> Failure:
    return await _stream(place, Message(text="One. "))


@reaches(Reason.CONFIG_REPEATED, field="config", is_utterance=True)
async def stream_config_twice(place: Place) -> Failure:
    return await _stream(place, Message(config=Config()), Message(config=Config()))


@reaches(Reason.MESSAGE_EMPTY, field="message", is_utterance=True)
async def stream_nothing(place: Place) -> Failure:
    return await _stream(place, Message(config=Config()), Message())


@reaches(Reason.TEXT_EMPTY, field="text", is_utterance=True)
async def say_nothing(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech(" ")))


@reaches(Reason.TEXT_NOT_SPEAKABLE, field="text", is_utterance=True)
async def say_dots(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech("...")))


@reaches(Reason.TEXT_TOO_LONG, field="text", is_utterance=True)
async def say_too_much(place: Place) -> Failure:
    limit = place.system.gateway.text_limits.max_unary_characters
    return await failure_of(place.system.speech.Synthesize(speech("a" * (limit + 1))))


@reaches(Reason.TEXT_BAD_CHARACTER, field="text", is_utterance=True)
async def say_bell(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech("One.\x07")))


@reaches(Reason.LANGUAGE_NOT_SUPPORTED, field="config.language", is_utterance=True)
async def say_it_in_another_language(place: Place) -> Failure:
    return await failure_of(place.system.speech.Synthesize(speech("Un.", language="fr")))


@reaches(Reason.NOT_DECODABLE, field="request")
async def send_no_message(place: Place) -> Failure:
    return await _send(place, b"\x12\x05Hi")


@reaches(Reason.MESSAGE_TOO_LARGE, field="request")
async def send_too_much(place: Place) -> Failure:
    return await _send(place, bytes(MAX_MESSAGE_BYTES + 1))


async def _stream(place: Place, *messages: Message) -> Failure:
    stub: Any = place.system.speech
    return await failure_of_messages(stub.StreamingSynthesize(), messages)


async def _send(place: Place, data: bytes) -> Failure:
    """Call Synthesize with bytes as they are."""
    async with grpc.aio.insecure_channel(place.system.address) as channel:
        call = channel.unary_unary(
            "/tts.v1.TextToSpeech/Synthesize", request_serializer=bytes, response_deserializer=bytes
        )
        return await failure_of(call(data))
