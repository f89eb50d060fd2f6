"""What a server says about itself through grpc.health.v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# types-grpcio-health-checking 1.0 has no List; drop these two when it does.
_messages: Any = health_pb2
_stubs: Any = health_pb2_grpc

SPEECH = "tts.v1.TextToSpeech"
_STAGE_PREFIX = "stage."


@dataclass(frozen=True)
class Health:
    """The state of the server and of each model stage behind it."""

    services: dict[str, str]
    """Every name that the server answers for, with its status: ``SERVING``, ``NOT_SERVING``, …"""

    @property
    def is_serving(self) -> bool:
        """Whether a request to speak would be taken."""
        return self.services.get(SPEECH) == "SERVING"

    @property
    def stages(self) -> dict[str, bool]:
        """Whether each stage serves, by its name."""
        return {
            name.removeprefix(_STAGE_PREFIX): status == "SERVING"
            for name, status in sorted(self.services.items())
            if name.startswith(_STAGE_PREFIX)
        }


async def ask_health(channel: grpc.aio.Channel, timeout_seconds: float | None) -> Health:
    """Ask for every name at once; raises what gRPC raises."""
    stub = _stubs.HealthStub(channel)
    response = await stub.List(_messages.HealthListRequest(), timeout=timeout_seconds)
    names = _messages.HealthCheckResponse.ServingStatus.Name
    return Health({name: names(answer.status) for name, answer in response.statuses.items()})
