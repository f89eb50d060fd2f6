"""One service as a child process, and what its health service says.

Knows nothing of the other services; `system` says who needs whom.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
_LOG_LINES_SHOWN = 20


class StartError(Exception):
    """The processes do not come up; the text holds the end of the log that says why."""


@dataclass
class ServiceProcess:
    """A service that can be started, asked and stopped."""

    name: str
    """Unique here: the module, or module-2, -3 for further workers of a stage."""
    command: list[str]
    address: str
    environment: dict[str, str]
    log: Path
    health_names: tuple[str, ...]
    """All must be SERVING before the service counts as up."""
    metrics: str = ""
    """host:port of its Prometheus metrics; empty when they are off."""
    cores: set[int] = field(default_factory=set)
    """Those that it keeps to; all where none is named."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it with its log appended to; returns at once."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # A group of its own: Ctrl-C in a terminal reaches the parent only, which drains it. Not a session, since
            # Linux may weigh niceness only within one.
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        if self.cores:
            # At once: its threads take it over as they begin.
            os.sched_setaffinity(self.process.pid, self.cores)

    def is_serving(self) -> bool:
        return all(health_status(self.address, name) == "SERVING" for name in self.health_names)

    def terminate(self, timeout_seconds: float = 30.0) -> int:
        """Ask it to drain, wait, and return its exit code; kills it when the time is over."""
        return self._end(signal.SIGTERM, timeout_seconds)

    def kill(self) -> int:
        """End it without warning, as a crash would."""
        return self._end(signal.SIGKILL, 10.0)

    def end_of_log(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, maxlen=_LOG_LINES_SHOWN)).rstrip()

    def _end(self, number: signal.Signals, timeout_seconds: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


# A channel of its own pool each time: a shared one would sit out its backoff after the first refusal.
_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


def device_kind(address: str) -> str:
    """Return where the stage worker at `address` computes, `cpu` or `cuda`; empty when it does not answer."""
    with grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        try:
            answer = stage_pb2_grpc.StageStub(channel).Describe(stage_pb2.DescribeRequest(), timeout=2.0)
        except grpc.RpcError:
            return ""
    return answer.device.kind


def health_status(address: str, name: str) -> str:
    """Return the status that the server at `address` gives for `name`, or why there is none."""
    with grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        # types-grpcio-health-checking 1.0 gives the stub no methods.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=2.0)
        except grpc.RpcError as error:
            return "NO_ANSWER" if error.code() is grpc.StatusCode.UNAVAILABLE else error.code().name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
