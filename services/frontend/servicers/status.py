"""tts.v1.Status: how the gateway and its workers are, for operators."""

from __future__ import annotations

import time
from collections.abc import Sequence

from protos.tts.v1 import status_pb2, status_pb2_grpc
from services.common import VERSION
from services.frontend.gateway import Gateway
from services.frontend.servicers.calls import Context
from services.frontend.workers.link import WorkerLink
from services.frontend.workers.topology import Topology


class StatusServicer(status_pb2_grpc.StatusServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Get(self, request: status_pb2.GetStatusRequest, context: Context) -> status_pb2.SystemStatus:
        gateway = self._gateway
        return status_pb2.SystemStatus(
            version=VERSION,
            is_serving=gateway.topology.is_serving(),
            uptime_seconds=time.monotonic() - gateway.started,
            queue_depth=gateway.admission.queue_depth,
            # Each model has a queue of its own.
            max_queue=gateway.admission.max_queue * len(gateway.models),
            models=models_status(gateway.topology),
        )


def models_status(topology: Topology) -> list[status_pb2.ModelStatus]:
    """Every model revision that a worker has loaded, the default model first."""
    found: dict[tuple[str, str], list[WorkerLink]] = {}
    for link in topology.links:
        if link.about is not None:
            found.setdefault((link.about.model.name, link.about.model.revision), []).append(link)
    order = {name: number for number, name in enumerate(topology.models)}
    keys = sorted(found, key=lambda key: (order.get(key[0], len(order)), key))
    return [_model(topology, name, revision, found[name, revision]) for name, revision in keys]


def _model(topology: Topology, name: str, revision: str, links: Sequence[WorkerLink]) -> status_pb2.ModelStatus:
    pipeline = topology.find(name, revision)
    seen = [link.about.stage for link in links if link.about is not None]
    ordered = [pool.stage for pool in pipeline.pools] if pipeline is not None else []
    stages = [_stage(stage, links) for stage in dict.fromkeys([*ordered, *seen])]
    return status_pb2.ModelStatus(
        name=name,
        revision=revision,
        is_default=name == topology.default_model,
        is_serving=pipeline is not None and not pipeline.missing,
        stages=stages,
    )


def _stage(stage: str, links: Sequence[WorkerLink]) -> status_pb2.StageStatus:
    own = [link for link in links if link.about is not None and link.about.stage == stage]
    return status_pb2.StageStatus(
        name=stage,
        is_serving=any(link.takes_streams for link in own),
        workers=[_worker(link) for link in own],
    )


def _worker(link: WorkerLink) -> status_pb2.WorkerStatus:
    about = link.about
    assert about is not None
    return status_pb2.WorkerStatus(
        worker=about.worker,
        address=link.address,
        state=_state(link),
        device=about.device.name,
        provider=about.device.provider,
        dtype=about.device.dtype,
        memory_used_bytes=link.beat.memory_used_bytes,
        memory_total_bytes=link.beat.memory_total_bytes,
        slots=about.slots,
        free_slots=link.beat.free_slots,
    )


def _state(link: WorkerLink) -> status_pb2.WorkerState.ValueType:
    if not link.is_up:
        return status_pb2.WORKER_STATE_LOST
    return status_pb2.WORKER_STATE_DRAINING if link.is_draining else status_pb2.WORKER_STATE_SERVING
