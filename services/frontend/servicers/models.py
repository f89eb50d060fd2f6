"""tts.v1.Models: says what the workers said."""

from __future__ import annotations

from protos.tts.v1 import models_pb2, models_pb2_grpc
from services.frontend.audio import MAX_CHUNK_MS, MAX_SAMPLE_RATE_HZ, MIN_CHUNK_MS, MIN_SAMPLE_RATE_HZ
from services.frontend.gateway import Gateway
from services.frontend.recordings.decoder import RecordingLimits
from services.frontend.request.resolver import segment_limit
from services.frontend.servicers.calls import Context
from services.frontend.servicers.convert_models import model_to_proto
from services.frontend.text import MAX_TERMS
from services.frontend.workers.topology import Pipeline


class ModelsServicer(models_pb2_grpc.ModelsServicer):
    def __init__(self, gateway: Gateway, recordings: RecordingLimits) -> None:
        self._gateway = gateway
        self._recordings = recordings

    async def List(self, request: models_pb2.ListModelsRequest, context: Context) -> models_pb2.ListModelsResponse:
        pipelines = self._gateway.topology.pipelines()
        return models_pb2.ListModelsResponse(models=[self._model(pipeline) for pipeline in pipelines])

    async def Get(self, request: models_pb2.GetModelRequest, context: Context) -> models_pb2.Model:
        return self._model(self._gateway.topology.pipeline(request.name, field_path="name"))

    def _model(self, pipeline: Pipeline) -> models_pb2.Model:
        frontend = self._gateway.models[pipeline.model]
        limits = _limits(self._gateway, self._recordings)
        limits.max_segment_tokens = segment_limit(pipeline, frontend)
        is_default = pipeline.model == self._gateway.topology.default_model
        return model_to_proto(
            pipeline, frontend, limits, is_default=is_default, default_policy=self._gateway.rules.default_policy
        )


def _limits(gateway: Gateway, recordings: RecordingLimits) -> models_pb2.ModelLimits:
    """What holds for every model."""
    return models_pb2.ModelLimits(
        max_unary_characters=gateway.text_limits.max_unary_characters,
        max_stream_characters=gateway.text_limits.max_stream_characters,
        min_voice_seconds=recordings.min_seconds,
        max_voice_seconds=recordings.max_seconds,
        used_voice_seconds=recordings.used_seconds,
        max_voice_bytes=recordings.max_bytes,
        max_inline_voice_bytes=gateway.rules.max_inline_voice_bytes,
        min_sample_rate_hz=MIN_SAMPLE_RATE_HZ,
        max_sample_rate_hz=MAX_SAMPLE_RATE_HZ,
        min_chunk_ms=MIN_CHUNK_MS,
        max_chunk_ms=MAX_CHUNK_MS,
        max_glossary_terms=MAX_TERMS,
    )
