"""Requests that are right, and what can happen to them: no room, no time, no stage, no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from services.common.reasons import Reason
from services.common.tokens import TokenInterceptor
from services.frontend.__main__ import register_servicers
from services.frontend.gateway import TextLimits
from services.frontend.recordings.decoder import RecordingLimits
from services.frontend.speaking.utterance import PipelineLimits
from tests.fakes.stage_worker import Spec, describe
from tests.fakes.system import FakeSystem, fake_system
from tests.reasons.failures import Failure, failure_of, failure_of_stream
from tests.reasons.table import Config, Message, Place, reaches, speech
from tests.unit.common.serving import Served, served


@asynccontextmanager
async def in_work(system: FakeSystem) -> AsyncIterator[None]:
    """A stream that has slots in every stage and makes no sound."""
    system.stages["vocoder"].behaviour.gate.clear()
    call = system.speech.SynthesizeStream(speech("One two three."))
    await system.stages["vocoder"].until(lambda: system.stages["vocoder"].num_open == 1)
    yield
    call.cancel()


def second_door(system: FakeSystem, **options: Any) -> AbstractAsyncContextManager[Served]:
    """Another server, as the process has it, in front of the same gateway."""
    return served(lambda server: [*register_servicers(server, system.gateway, RecordingLimits())], **options)


@reaches(Reason.UNAUTHENTICATED, field="authorization")
async def come_without_a_token(place: Place) -> Failure:
    async with second_door(place.system, interceptors=[TokenInterceptor("secret")]) as door:
        return await failure_of(synthesis_pb2_grpc.TextToSpeechStub(door.channel).Synthesize(speech("One.")))


@reaches(Reason.PIPELINE_INCOMPLETE, is_utterance=True)
async def speak_before_every_stage_is_there(place: Place) -> Failure:
    async with fake_system(place.directory, stages=("gpt", "vocoder")) as system:
        return await failure_of(system.speech.Synthesize(speech("One.")))


@reaches(Reason.STAGE_FAILED, stage="s2mel", is_utterance=True)
async def speak_where_a_stage_breaks(place: Place) -> Failure:
    async with fake_system(place.directory) as system:
        system.stages["s2mel"].behaviour.fail_at = 0
        return await failure_of(system.speech.Synthesize(speech("One.")))


@reaches(Reason.STAGE_LOST, stage="gpt", is_utterance=True)
async def lose_a_worker(place: Place) -> Failure:
    async with fake_system(place.directory) as system:
        system.stages["gpt"].behaviour.gate.clear()
        speaking = asyncio.ensure_future(failure_of(system.speech.Synthesize(speech("One."))))
        await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
        await system.stops["gpt"].stop(grace=None)
        return await speaking


@reaches(Reason.VOICE_STEPS_INCOMPLETE, is_utterance=True)
async def speak_where_nobody_makes_a_feature(place: Place) -> Failure:
    abouts = [describe(stage) for stage in ("gpt", "s2mel", "vocoder")]
    abouts[2].conditions.append(Spec(name="timbre", dtype="float32", shape=[4]))
    async with fake_system(place.directory, abouts=abouts) as system:
        return await failure_of(system.speech.Synthesize(speech("One.")))


@reaches(Reason.INTERNAL_ERROR, is_utterance=True)
async def meet_a_fault(place: Place) -> Failure:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("One.")

    async with fake_system(place.directory) as system:
        system.gateway.models["fake"].check_text = broken  # type: ignore[method-assign]
        failure = await failure_of(system.speech.Synthesize(speech("One.")))
        assert "One." not in failure.message
        return failure


@reaches(Reason.SERVER_STOPPED, is_utterance=True)
async def outlast_the_server(place: Place) -> Failure:
    async with fake_system(place.directory) as system, second_door(system, drain_seconds=0.01) as door:
        vocoder = system.stages["vocoder"]
        vocoder.behaviour.gate.clear()
        call = synthesis_pb2_grpc.TextToSpeechStub(door.channel).Synthesize(speech("One."))
        speaking = asyncio.ensure_future(failure_of(call))
        await vocoder.until(lambda: vocoder.num_open == 1)
        door.stop.set()
        return await speaking


@reaches(Reason.FIRST_AUDIO_TIMEOUT, field="config.max_first_audio_ms", is_utterance=True)
async def want_audio_at_once(place: Place) -> Failure:
    async with fake_system(place.directory) as system:
        system.stages["vocoder"].behaviour.gate.clear()
        return await failure_of(system.speech.Synthesize(speech("One.", max_first_audio_ms=50)))


@reaches(Reason.STREAM_IDLE, is_utterance=True)
async def stream_and_fall_silent(place: Place) -> Failure:
    silent = asyncio.Event()

    async def requests() -> AsyncIterator[Message]:
        yield Message(config=Config())
        await silent.wait()

    async with fake_system(place.directory, text_limits=TextLimits(stream_idle_seconds=0.05)) as system:
        return await failure_of_stream(system.speech.StreamingSynthesize(requests()))


@reaches(Reason.CLIENT_STALLED, is_utterance=True)
async def take_no_audio(place: Place) -> Failure:
    limits = PipelineLimits(client_lead_seconds=0.1, client_stall_seconds=0.2)
    # More sound than the connection's buffers hold: nobody reads before the slots are free again.
    audio = synthesis_pb2.AudioConfig(encoding=synthesis_pb2.AUDIO_ENCODING_FLOAT32, sample_rate_hz=48_000, chunk_ms=0)
    async with fake_system(place.directory, limits=limits) as system:
        gpt = system.stages["gpt"]
        call = system.speech.SynthesizeStream(speech("One two three four five six seven. " * 100, audio=audio))
        await gpt.until(lambda: gpt.num_open == 1)
        await system.all_free()
        return await failure_of_stream(call)


@reaches(Reason.OVERLOADED, is_utterance=True)
async def come_when_all_slots_are_taken(place: Place) -> Failure:
    async with fake_system(place.directory, slots=1, max_queue=0) as system, in_work(system):
        return await failure_of(system.speech.Synthesize(speech("One.")))


@reaches(Reason.TOO_MANY_STREAMS, is_utterance=True)
async def open_one_stream_too_many(place: Place) -> Failure:
    async with fake_system(place.directory, text_limits=TextLimits(max_streams=1)) as system, in_work(system):
        return await failure_of_stream(system.speech.SynthesizeStream(speech("One.")))
