"""One step of a voice's features or of a request's options, computed by a worker that declares it."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Tensors
from services.common.grpc_errors import from_rpc_error
from services.frontend.workers.topology import Pipeline, Pool

logger = structlog.get_logger(__name__)

STEP_SECONDS = 120.0


@dataclass(frozen=True)
class Step:
    """A step and the workers that compute it."""

    pool: Pool
    spec: stage_pb2.VoiceStep

    async def run(self, given: Tensors, pipeline: Pipeline) -> Tensors:
        """Compute it.

        Args:
            given: What the step takes, by name.
            pipeline: The model that the step belongs to.

        Raises:
            TtsError: No worker can be reached, or the worker refuses.
        """
        request = stage_pb2.EncodeVoiceRequest(
            model=pipeline.identity, step=self.spec.name, tensors=tensors.to_proto(given)
        )
        try:
            answer = await self.pool.least_loaded(step=self.spec.name).stub.EncodeVoice(request, timeout=STEP_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.pool.stage) from error
        logger.info("step_done", stage=self.pool.stage, step=self.spec.name)
        return tensors.from_proto(answer.tensors)
