"""A gateway that makes tones instead of speech and does what a test tells it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2 as rpc_status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from protos.tts.v1 import (
    models_pb2,
    models_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
    synthesis_pb2,
    synthesis_pb2_grpc,
    voices_pb2,
    voices_pb2_grpc,
)

RATE = 22050
CHUNK_SAMPLES = 2205
REVISION = "0123456789abcdef"

Context = grpc.aio.ServicerContext[Any, Any]


def tone(seed: int, chunk: int) -> bytes:
    """Return the samples of one chunk; they depend on the seed and on nothing else."""
    index = np.arange(CHUNK_SAMPLES) + chunk * CHUNK_SAMPLES
    return bytes((8000 * np.sin(index * (0.05 + seed % 97 / 1000))).astype("<i2"))


def floats(*chunks: bytes) -> NDArray[np.float32]:
    """Return the samples of chunks as a caller gets them."""
    return (np.frombuffer(b"".join(chunks), "<i2") / 32768).astype(np.float32)


async def refuse(
    context: Context,
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str = "",
    field: str = "",
    retry_seconds: float = 0,
    **metadata: str,
) -> None:
    """Abort with the details that a real gateway sends."""
    status = rpc_status_pb2.Status(code=code.value[0], message=message)
    details: list[Any] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="triptych", metadata=metadata))
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_seconds:
        delay = duration_pb2.Duration(nanos=int(retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


class FakeHealth(health_pb2_grpc.HealthServicer):
    """Answers List, which the stock servicer does not."""

    def __init__(self) -> None:
        names = ("", "tts.v1.TextToSpeech", "stage.gpt", "stage.s2mel", "stage.vocoder")
        self.statuses = dict.fromkeys(names, "SERVING")

    async def List(self, request: Any, context: Context) -> Any:
        messages: Any = health_pb2
        answer = messages.HealthListResponse()
        for name, status in self.statuses.items():
            answer.statuses[name].status = messages.HealthCheckResponse.ServingStatus.Value(status)
        return answer


class FakeGateway(
    synthesis_pb2_grpc.TextToSpeechServicer,
    voices_pb2_grpc.VoicesServicer,
    models_pb2_grpc.ModelsServicer,
):
    """Speaks one segment for each sentence, two chunks each."""

    def __init__(self) -> None:
        self.voices: dict[str, voices_pb2.Voice] = {}
        self.configs: list[synthesis_pb2.SynthesisConfig] = []
        self.received: list[str] = []
        self.uploads = 0
        self.whole_texts = 0
        """Calls of SynthesizeStream."""
        self.default_voice = ""
        self.metadata: list[dict[str, str | bytes]] = []
        """Of every call that speaks."""
        self.refusal: Callable[[Context], Awaitable[None]] | None = None
        """Ends every call that speaks, before its first chunk."""
        self.breaks_after = 0
        """Chunks after which a stream breaks; 0 is never."""
        self.chunk_seconds = 0.0
        self.cancelled = asyncio.Event()
        self.health = FakeHealth()
        self.status = FakeStatus()

    async def Synthesize(self, request, context):  # type: ignore[no-untyped-def]
        await self._admit(request.config, context)
        seed = request.config.seed if request.config.HasField("seed") else 42
        return synthesis_pb2.SynthesizeResponse(
            audio=tone(seed, 0) + tone(seed, 1),
            sample_rate_hz=RATE,
            utterance=self._utterance(request.config, seed),
            segments=[self._segment(0, 0, len(request.text))],
            timings=_timings(),
            usage=_usage(),
        )

    async def Analyze(self, request, context):  # type: ignore[no-untyped-def]
        await self._admit(request.config, context)
        span = synthesis_pb2.TextSpan(start=0, end=len(request.text))
        segment = synthesis_pb2.AnalyzedSegment(
            text_span=span,
            normalized_text=request.text.upper(),
            tokens=[synthesis_pb2.AnalyzedToken(id=3, piece="▁HI", text_span=span)],
            codes=[5, 6] if request.with_codes else [],
            codebooks=1,
        )
        answer = synthesis_pb2.AnalyzeResponse(
            model="mini", model_revision=REVISION, language="en", normalized_text="HI.", segments=[segment]
        )
        if request.with_codes:
            answer.utterance.CopyFrom(self._utterance(request.config, 42))
        return answer

    async def SynthesizeStream(self, request, context):  # type: ignore[no-untyped-def]
        await self._admit(request.config, context)
        self.received.append(request.text)
        self.whole_texts += 1
        sentences = [part for part in request.text.split(".") if part.strip()]

        async def texts() -> AsyncIterator[str]:
            for sentence in sentences:
                yield sentence + "."

        async for chunk in self._speak(request.config, texts(), context):
            yield chunk

    async def StreamingSynthesize(self, request_iterator, context):  # type: ignore[no-untyped-def]
        first = await anext(request_iterator)
        if first.WhichOneof("message") != "config":
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "config first", reason="CONFIG_MISSING")
        await self._admit(first.config, context)

        async def texts() -> AsyncIterator[str]:
            collected = ""
            async for message in request_iterator:
                kind = message.WhichOneof("message")
                self.received.append(message.text if kind == "text" else kind)
                collected += message.text
                if kind == "flush" and collected:
                    yield collected
                    collected = ""
                while "." in collected:
                    sentence, _, collected = collected.partition(".")
                    yield sentence + "."
            if collected:
                yield collected

        async for chunk in self._speak(first.config, texts(), context):
            yield chunk

    async def Create(self, request_iterator, context):  # type: ignore[no-untyped-def]
        name, data, config = "", b"", voices_pb2.CreateVoiceConfig()
        async for message in request_iterator:
            config = message.config if message.HasField("config") else config
            name = config.name
            data += message.audio
            if name in self.voices and data and self.voices[name].id != _digest(data):
                await refuse(
                    context,
                    grpc.StatusCode.ALREADY_EXISTS,
                    f"{name} is taken",
                    reason="VOICE_NAME_TAKEN",
                    category="CONFIG",
                )
        self.uploads += 1
        digest = _digest(data)
        if not data.startswith(b"RIFF"):
            await refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "not audio: accepted are WAV, FLAC, MP3 and Ogg",
                reason="RECORDING_NOT_AUDIO",
                category="AUDIO",
                field="audio",
            )
        self.voices[name] = voices_pb2.Voice(
            name=name,
            id=digest,
            duration_seconds=3,
            used_seconds=3,
            sample_rate_hz=16000,
            channels=1,
            warnings=[voices_pb2.VoiceWarning(reason=voices_pb2.VOICE_WARNING_REASON_NOISY, message="it is noisy")],
            source=voices_pb2.VOICE_SOURCE_REGISTERED,
            transcript=config.transcript,
            description=config.description,
        )
        return self.voices[name]

    async def Update(self, request, context):  # type: ignore[no-untyped-def]
        voice = self.voices.pop(request.name)
        voice.name = request.new_name if request.HasField("new_name") else voice.name
        voice.transcript = request.transcript if request.HasField("transcript") else voice.transcript
        voice.description = request.description if request.HasField("description") else voice.description
        self.voices[voice.name] = voice
        return voice

    async def GetDefault(self, request, context):  # type: ignore[no-untyped-def]
        return self.voices[self.default_voice]

    async def SetDefault(self, request, context):  # type: ignore[no-untyped-def]
        self.default_voice = request.name
        return self.voices[request.name]

    async def Get(self, request, context):  # type: ignore[no-untyped-def]
        if isinstance(request, models_pb2.GetModelRequest):
            return _model()
        for voice in self.voices.values():
            if request.name in (voice.name, voice.id):
                return voice
        return await _no_voice(request.name, context)

    async def List(self, request, context):  # type: ignore[no-untyped-def]
        if isinstance(request, models_pb2.ListModelsRequest):
            return models_pb2.ListModelsResponse(models=[_model()])
        return voices_pb2.ListVoicesResponse(voices=self.voices.values())

    async def Delete(self, request, context):  # type: ignore[no-untyped-def]
        if self.voices.pop(request.name, None) is None:
            await _no_voice(request.name, context)
        return voices_pb2.DeleteVoiceResponse()

    async def _admit(self, config: synthesis_pb2.SynthesisConfig, context: Context) -> None:
        self.configs.append(config)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        if self.refusal:
            await self.refusal(context)

    async def _speak(
        self, config: synthesis_pb2.SynthesisConfig, texts: AsyncIterator[str], context: Context
    ) -> AsyncIterator[synthesis_pb2.AudioChunk]:
        seed = config.seed if config.HasField("seed") else 42
        sequence = segment = offset = 0
        try:
            async for text in texts:
                for half in range(2):
                    if self.breaks_after and sequence == self.breaks_after:
                        await refuse(
                            context,
                            grpc.StatusCode.UNAVAILABLE,
                            "stage gpt is lost",
                            reason="STAGE_LOST",
                            category="IO",
                            retryable="true",
                            retry_seconds=0.01,
                            stage="gpt",
                        )
                    chunk = synthesis_pb2.AudioChunk(
                        audio=tone(seed, sequence),
                        sample_rate_hz=RATE,
                        sequence=sequence,
                        start_sample=sequence * CHUNK_SAMPLES,
                        segment=segment,
                        text_span=synthesis_pb2.TextSpan(start=offset, end=offset + len(text)),
                    )
                    if sequence == 0:
                        chunk.utterance.CopyFrom(self._utterance(config, seed))
                    if half == 1:
                        chunk.segment_ends.append(self._segment(segment, offset, offset + len(text)))
                    yield chunk
                    sequence += 1
                    await asyncio.sleep(self.chunk_seconds)
                segment += 1
                offset += len(text)
            yield synthesis_pb2.AudioChunk(
                sample_rate_hz=RATE,
                sequence=sequence,
                start_sample=sequence * CHUNK_SAMPLES,
                timings=_timings(),
                usage=_usage(),
                is_last=True,
            )
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    @staticmethod
    def _utterance(config: synthesis_pb2.SynthesisConfig, seed: int) -> synthesis_pb2.UtteranceInfo:
        return synthesis_pb2.UtteranceInfo(
            utterance_id="u1",
            session_id=config.session_id,
            seed=seed,
            model="mini",
            model_revision=REVISION,
            voice_id="f" * 64,
            policy="balanced",
            language="en",
            encoding=synthesis_pb2.AUDIO_ENCODING_LINEAR16,
        )

    @staticmethod
    def _segment(index: int, start: int, end: int) -> synthesis_pb2.SegmentInfo:
        return synthesis_pb2.SegmentInfo(
            segment=index,
            text_span=synthesis_pb2.TextSpan(start=start, end=end),
            text_tokens=end - start,
            codes=10,
            samples=2 * CHUNK_SAMPLES,
            finish_reason=synthesis_pb2.FINISH_REASON_STOP,
            warnings=[
                synthesis_pb2.TextWarning(
                    reason=synthesis_pb2.TEXT_WARNING_REASON_UNKNOWN_CHARACTER,
                    message="a character is unknown",
                    text_span=synthesis_pb2.TextSpan(start=start, end=start + 1),
                )
            ],
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _timings() -> synthesis_pb2.StageTimings:
    return synthesis_pb2.StageTimings(
        first_audio_ms=12.5,
        total_ms=80,
        first_token_ms=4,
        queue_ms=1.5,
        compute_ms={"gpt": 30},
        first_output_ms={"gpt": 5},
    )


def _usage() -> synthesis_pb2.Usage:
    return synthesis_pb2.Usage(characters=9, text_tokens=4, codes=10, audio_seconds=0.2)


async def _no_voice(name: str, context: Context) -> None:
    await refuse(
        context,
        grpc.StatusCode.NOT_FOUND,
        f"no voice is called {name}",
        reason="VOICE_NOT_FOUND",
        category="CONFIG",
    )


def _status() -> status_pb2.SystemStatus:
    worker = status_pb2.WorkerStatus(
        worker="w",
        address="127.0.0.1:50061",
        state=status_pb2.WORKER_STATE_DRAINING,
        device="cpu",
        memory_used_bytes=5,
        memory_total_bytes=9,
        slots=4,
        free_slots=3,
    )
    stage = status_pb2.StageStatus(name="gpt", is_serving=True, workers=[worker])
    model = status_pb2.ModelStatus(name="mini", revision=REVISION, is_default=True, is_serving=True, stages=[stage])
    return status_pb2.SystemStatus(version="0.1.0", is_serving=True, uptime_seconds=7, max_queue=2, models=[model])


class FakeStatus(status_pb2_grpc.StatusServicer):
    def __init__(self) -> None:
        self.answer = _status()

    async def Get(self, request, context):  # type: ignore[no-untyped-def]
        return self.answer


def _model() -> models_pb2.Model:
    return models_pb2.Model(
        name="mini",
        revision=REVISION,
        is_default=True,
        languages=["en"],
        sample_rate_hz=RATE,
        capabilities=["emotion_vector"],
        limits=models_pb2.ModelLimits(
            max_unary_characters=5000, max_stream_characters=20000, max_inline_voice_bytes=10_000_000
        ),
        stages=[
            models_pb2.ModelStage(
                name=name,
                worker="w",
                device="cpu",
                provider="torch",
                dtype="float32",
                slots=4,
                is_serving=True,
            )
            for name in ("gpt", "s2mel", "vocoder")
        ],
        parameters=[
            models_pb2.ModelParameter(
                name="steps", minimum=1, maximum=100, default_value=10, is_integer=True, field="config.render.steps"
            )
        ],
        voice_modes=[models_pb2.VOICE_MODE_REFERENCE],
        policies=["balanced", "whole"],
        policy_numbers=[
            models_pb2.ModelPolicy(
                name="balanced",
                codes_per_chunk=5,
                first_window_codes=20,
                window_growth=2,
                max_window_codes=150,
                look_ahead_codes=10,
                prefix_codes=25,
                prompt_seconds=1.5,
                vocoder_context_frames=24,
                vocoder_look_ahead_frames=8,
                params={"top_k": 4},
            ),
            models_pb2.ModelPolicy(name="whole", is_whole=True, max_window_codes=150),
        ],
        text_rules=["numbers"],
        encodings=[synthesis_pb2.AUDIO_ENCODING_LINEAR16, synthesis_pb2.AUDIO_ENCODING_WAV],
    )


async def start(gateway: FakeGateway, credentials: grpc.ServerCredentials | None = None) -> tuple[grpc.aio.Server, str]:
    """Serve `gateway` on a free port and return the server with its address."""
    # As the real one: a recording that is too large is refused by the service, not by gRPC.
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 64 * 1024 * 1024),))
    synthesis_pb2_grpc.add_TextToSpeechServicer_to_server(gateway, server)
    voices_pb2_grpc.add_VoicesServicer_to_server(gateway, server)
    models_pb2_grpc.add_ModelsServicer_to_server(gateway, server)
    status_pb2_grpc.add_StatusServicer_to_server(gateway.status, server)
    health_pb2_grpc.add_HealthServicer_to_server(gateway.health, server)
    if credentials:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
