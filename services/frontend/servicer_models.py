"""tts.v1.Models: says what the workers said."""

from __future__ import annotations

from protos.tts.v1 import models_pb2, models_pb2_grpc
from services.common.errors import InvalidRequestError
from services.frontend import convert
from services.frontend.calls import Context
from services.frontend.topology import Pipeline, Topology


class ModelsServicer(models_pb2_grpc.ModelsServicer):
    """Adds the model's limits to the gateway's own, which it is given."""

    def __init__(self, topology: Topology, limits: models_pb2.ModelLimits) -> None:
        self._topology = topology
        self._limits = limits

    async def List(self, request: models_pb2.ListModelsRequest, context: Context) -> models_pb2.ListModelsResponse:
        return models_pb2.ListModelsResponse(models=[self._model(each) for each in self._topology.pipelines()])

    async def Get(self, request: models_pb2.GetModelRequest, context: Context) -> models_pb2.Model:
        if not request.name:
            raise InvalidRequestError("name is empty; give a model's name", field="name")
        return self._model(self._topology.pipeline(request.name))

    def _model(self, pipeline: Pipeline) -> models_pb2.Model:
        limits = models_pb2.ModelLimits()
        limits.CopyFrom(self._limits)
        limits.max_segment_tokens = pipeline.max_segment_tokens
        return convert.model_to_proto(pipeline, limits, is_default=pipeline.model == self._topology.default_model)
