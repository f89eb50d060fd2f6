"""One worker as the gateway sees it: what it is, whether it is there, and how much it can still take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common.errors import StageLostError

logger = structlog.get_logger(__name__)

STAGE_SERVICE = stage_pb2.DESCRIPTOR.services_by_name["Stage"].full_name
CALL_SECONDS = 5.0


class WorkerLink:
    """Watches one address for as long as the gateway lives.

    Args:
        address: host:port of a stage worker.
        channel: An open channel to it; closed by `close`.
        on_change: Called whenever the worker appears, goes, or has another number of free slots.
        retry_seconds: Pause before another attempt to reach it.
        silence_seconds: Without a heartbeat for so long the worker counts as lost.
    """

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        *,
        on_change: Callable[[], None],
        retry_seconds: float = 0.2,
        silence_seconds: float = 5.0,
    ) -> None:
        self.address = address
        self.stub = stage_pb2_grpc.StageStub(channel)
        self.about: stage_pb2.DescribeResponse | None = None
        """What it said of itself last; kept when it is lost, so that errors can name the stage."""
        self.is_up = False
        self.is_draining = False
        self.leased = 0
        """Slots that this gateway holds; only admission changes it."""
        self.beat = stage_pb2.HeartbeatResponse()
        """The last heartbeat; kept when the worker is lost, empty before the first one."""
        self._foreign = 0
        # The typeshed stubs leave its methods out.
        self._health: Any = health_pb2_grpc.HealthStub(channel)
        self._channel = channel
        self._on_change = on_change
        self._retry_seconds = retry_seconds
        self._silence_seconds = silence_seconds
        self._last_problem = ""

    @property
    def takes_streams(self) -> bool:
        return self.is_up and not self.is_draining

    @property
    def slots(self) -> int:
        return self.about.slots if self.about is not None else 0

    @property
    def available(self) -> int:
        """Slots that this gateway may still take, as far as it knows."""
        return self.slots - self._foreign - self.leased if self.takes_streams else 0

    def note_refusal(self) -> None:
        """The worker has refused a stream: take nothing more until a heartbeat says otherwise."""
        # The refused slot is still leased here; once it is given back, none must seem free.
        self._foreign = max(self.slots - self.leased + 1, 0)

    async def watch(self) -> None:
        """Keep in touch until cancelled."""
        while True:
            try:
                await self._describe()
                await self._listen()
            except (grpc.aio.AioRpcError, TimeoutError, StageLostError) as error:
                self._lose(_problem(error))
            await asyncio.sleep(self._retry_seconds)

    async def close(self) -> None:
        await self._channel.close()

    async def _describe(self) -> None:
        about = await self.stub.Describe(stage_pb2.DescribeRequest(), timeout=CALL_SECONDS)
        health = await self._health.Check(health_pb2.HealthCheckRequest(service=STAGE_SERVICE), timeout=CALL_SECONDS)
        if health.status != health_pb2.HealthCheckResponse.SERVING:
            raise StageLostError(f"{about.stage} at {self.address} is not serving", stage=about.stage)
        self.about = about

    async def _listen(self) -> None:
        call = self.stub.Heartbeat(stage_pb2.HeartbeatRequest())
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    beat = await call.read()
                if not isinstance(beat, stage_pb2.HeartbeatResponse):
                    raise StageLostError("the heartbeat has ended")
                self._take(beat)
        finally:
            call.cancel()

    def _take(self, beat: stage_pb2.HeartbeatResponse) -> None:
        self.beat = beat
        before = (self.is_up, self.is_draining, self._foreign)
        # What neither the worker has free nor this gateway holds is held by other gateways.
        self._foreign = max(beat.slots - beat.free_slots - self.leased, 0)
        self.is_draining = beat.is_draining
        if not self.is_up:
            self.is_up = True
            self._last_problem = ""
            about = self.about
            assert about is not None
            logger.info("worker_up", address=self.address, stage=about.stage, worker=about.worker, slots=about.slots)
        if before != (self.is_up, self.is_draining, self._foreign):
            self._on_change()

    def _lose(self, problem: str) -> None:
        if problem != self._last_problem:
            stage = self.about.stage if self.about is not None else ""
            logger.warning("worker_down", address=self.address, stage=stage, problem=problem)
        self._last_problem = problem
        if self.is_up:
            self.is_up = False
            self._on_change()


def _problem(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name
    return str(error) or "no heartbeat"
