"""How the system is, for operators."""

from __future__ import annotations

from dataclasses import dataclass

from protos.tts.v1 import status_pb2
from triptych.enums import name_of


@dataclass(frozen=True)
class WorkerStatus:
    """One worker of a stage."""

    worker: str
    address: str
    """host:port as the gateway knows it."""
    state: str
    """``serving``, ``draining`` or ``lost``."""
    device: str
    provider: str
    dtype: str
    memory_used_bytes: int
    """Of the device; on a CPU, of the process."""
    memory_total_bytes: int
    """Of the device; on a CPU, of the machine."""
    slots: int
    free_slots: int


@dataclass(frozen=True)
class StageStatus:
    """A stage of a model with its workers."""

    name: str
    is_serving: bool
    workers: tuple[WorkerStatus, ...]


@dataclass(frozen=True)
class ModelStatus:
    """A model that is loaded somewhere."""

    name: str
    revision: str
    is_default: bool
    is_serving: bool
    """Whether every stage has a worker."""
    stages: tuple[StageStatus, ...]


@dataclass(frozen=True)
class SystemStatus:
    """The gateway, and all models behind it."""

    version: str
    is_serving: bool
    """Whether a request for the default model would be taken."""
    uptime_seconds: float
    queue_depth: int
    """Utterances that wait for a slot."""
    max_queue: int
    models: tuple[ModelStatus, ...]


def status_from_proto(status: status_pb2.SystemStatus) -> SystemStatus:
    return SystemStatus(
        version=status.version,
        is_serving=status.is_serving,
        uptime_seconds=status.uptime_seconds,
        queue_depth=status.queue_depth,
        max_queue=status.max_queue,
        models=tuple(_model(model) for model in status.models),
    )


def _model(model: status_pb2.ModelStatus) -> ModelStatus:
    return ModelStatus(
        name=model.name,
        revision=model.revision,
        is_default=model.is_default,
        is_serving=model.is_serving,
        stages=tuple(_stage(stage) for stage in model.stages),
    )


def _stage(stage: status_pb2.StageStatus) -> StageStatus:
    return StageStatus(stage.name, stage.is_serving, tuple(_worker(worker) for worker in stage.workers))


def _worker(worker: status_pb2.WorkerStatus) -> WorkerStatus:
    return WorkerStatus(
        worker=worker.worker,
        address=worker.address,
        state=name_of(status_pb2.WorkerState, worker.state),
        device=worker.device,
        provider=worker.provider,
        dtype=worker.dtype,
        memory_used_bytes=worker.memory_used_bytes,
        memory_total_bytes=worker.memory_total_bytes,
        slots=worker.slots,
        free_slots=worker.free_slots,
    )
