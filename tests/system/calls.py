"""The four ways to have a text read, called alike; what a bad one must leave behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from tests.reasons.failures import Failure, failure_of, failure_of_messages, failure_of_stream
from tests.system.conftest import Slots

Config = synthesis_pb2.SynthesisConfig
Message = synthesis_pb2.StreamingSynthesizeRequest
Fail = Callable[[grpc.aio.Channel, Config, str], Awaitable[Failure]]


async def _synthesize(channel: grpc.aio.Channel, config: Config, text: str) -> Failure:
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    return await failure_of(stub.Synthesize(synthesis_pb2.SynthesizeRequest(config=config, text=text)))


async def _synthesize_stream(channel: grpc.aio.Channel, config: Config, text: str) -> Failure:
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    return await failure_of_stream(stub.SynthesizeStream(synthesis_pb2.SynthesizeRequest(config=config, text=text)))


async def _streaming_synthesize(channel: grpc.aio.Channel, config: Config, text: str) -> Failure:
    return await fail_stream(channel, Message(config=config), Message(text=text))


async def _analyze(channel: grpc.aio.Channel, config: Config, text: str) -> Failure:
    """With codes: a dry run without them does not ask the workers."""
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    return await failure_of(stub.Analyze(synthesis_pb2.AnalyzeRequest(config=config, text=text, with_codes=True)))


WHOLE_TEXT_CALLS: dict[str, Fail] = {
    "Synthesize": _synthesize,
    "SynthesizeStream": _synthesize_stream,
    "Analyze": _analyze,
}
CALLS: dict[str, Fail] = {**WHOLE_TEXT_CALLS, "StreamingSynthesize": _streaming_synthesize}


async def fail_stream(channel: grpc.aio.Channel, *messages: Message) -> Failure:
    """How a StreamingSynthesize call of these messages ends."""
    stub: Any = synthesis_pb2_grpc.TextToSpeechStub(channel)
    return await failure_of_messages(stub.StreamingSynthesize(), messages)


async def still_serves(channel: grpc.aio.Channel, slots: Slots) -> None:
    """The service answers, and no worker has anything in work."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service="tts.v1.TextToSpeech"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await slots.until_free()
