"""The gateway and its workers as one thing that starts, stops and can be hurt."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.local.members import GATEWAY, Member, members_of
from bench.local.process import ROOT, ServiceProcess, StartError
from bench.local.sharing import cores_of, shared_settings, usable_cores

_POLL_SECONDS = 0.1

Report = Callable[[Mapping[str, bool]], None]
"""Told again and again, while the system starts, which processes serve."""


class LocalSystem:
    """Four processes (or more, with `replicas` or several models) on loopback.

    Everything here blocks; use it from a synchronous fixture or a thread. `with` starts and stops.

    Args:
        model_dir: Checkpoint directory.
        model_dirs: Several of them instead, the default model's first; each gets workers of its own.
        log_dir: One log per process; older logs are removed.
        addresses: host:port by process name; what is left out gets a free port.
        metrics_ports: Likewise for the Prometheus metrics; 0 turns them off.
        replicas: How many workers of a stage and model, by module name; 1 where it is left out.
        gpus: What each worker may see, as for CUDA_VISIBLE_DEVICES: dealt in the order of the processes, and again
            from the first when there are fewer; none leaves the variable alone.
        config: TOML file for all processes; what is decided here wins over it.
        environment: Further variables by process name, or by module name for all its replicas.
        threads: CPU threads of each worker, also as OMP_NUM_THREADS; None leaves both alone.
        log_level: Of all processes; None leaves it to their settings.
    """

    def __init__(
        self,
        model_dir: Path | str = "models/mini",
        *,
        model_dirs: Sequence[Path | str] | None = None,
        log_dir: Path | str = "var/log",
        addresses: Mapping[str, str] | None = None,
        metrics_ports: Mapping[str, int] | None = None,
        replicas: Mapping[str, int] | None = None,
        gpus: Sequence[str] = (),
        config: Path | str | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        threads: int | None = None,
        log_level: str | None = "info",
    ) -> None:
        self.model_dirs = [Path(directory).resolve() for directory in model_dirs or [model_dir]]
        self._log_dir = ROOT / log_dir
        self._config = Path(config).resolve() if config else None
        self._environment = environment or {}
        self._threads = threads
        self._log_level = log_level
        self._chosen = dict(addresses or {})
        self._metrics_ports = {name: str(port) for name, port in (metrics_ports or {}).items()}
        self._members = members_of(self.model_dirs, replicas or {}, gpus)
        self.processes: dict[str, ServiceProcess] = {}

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self.processes[GATEWAY].address

    @property
    def addresses(self) -> dict[str, str]:
        return {name: process.address for name, process in self.processes.items()}

    def start(self, *, timeout_seconds: float = 120.0, report: Report | None = None) -> None:
        """Start everything and wait until all of it serves.

        Raises:
            StartError: if a process dies or the time is over; everything is stopped then.
        """
        if not self.processes:
            self.prepare()
        try:
            for process in self.processes.values():
                process.log.unlink(missing_ok=True)
                process.start()
            self.wait_until_serving(timeout_seconds=timeout_seconds, report=report)
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Decide addresses and environments without starting anything."""
        names = [member.name for member in self._members]
        free = free_addresses(2 * len(names))
        addresses = dict(zip(names, free, strict=False)) | self._chosen
        free_ports = [address.rpartition(":")[2] for address in free[len(names) :]]
        metrics_ports = dict(zip(names, free_ports, strict=True)) | self._metrics_ports
        workers = ",".join(addresses[member.name] for member in self._members if member.module != GATEWAY)
        # More threads than one are meant for more cores than one.
        is_own = self._config is not None or (self._threads or 1) > 1
        cores = {} if is_own else cores_of(self._members, usable_cores(), self._all_variables)
        for member in self._members:
            own = {
                "ADDRESS": addresses[member.name],
                "METRICS_PORT": metrics_ports[member.name],
                "MODEL_DIR": str(member.model_dir),
            }
            if self._log_level is not None:
                own["LOG_LEVEL"] = self._log_level
            if member.module == GATEWAY:
                # A comma alone is an empty list: a file may name models that have no workers here.
                own |= {"WORKERS": workers, "MORE_MODELS": ",".join(map(str, self.model_dirs[1:])) or ","}
            variables = {f"{member.prefix}{name}": value for name, value in own.items()} | self._variables(member)
            self.processes[member.name] = self._process(member, addresses[member.name], variables)
            self.processes[member.name].cores = cores.get(member.name, set())

    def _variables(self, member: Member) -> dict[str, str]:
        variables = {} if self._config else shared_settings(member, self._all_variables)
        if member.module != GATEWAY and self._threads is not None:
            variables |= {f"{member.prefix}THREADS": str(self._threads), "OMP_NUM_THREADS": str(self._threads)}
        if member.gpu is not None:
            # In this order the numbers are those that nvidia-smi shows.
            variables |= {"CUDA_VISIBLE_DEVICES": member.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return variables | dict(self._environment.get(member.module, {})) | dict(self._environment.get(member.name, {}))

    @property
    def _all_variables(self) -> dict[str, str]:
        """What the user sets for any of the processes."""
        return {name: value for given in (os.environ, *self._environment.values()) for name, value in given.items()}

    def _process(self, member: Member, address: str, variables: dict[str, str]) -> ServiceProcess:
        host, port = address.rpartition(":")[0], variables[f"{member.prefix}METRICS_PORT"]
        config = ["--config", str(self._config)] if self._config else []
        return ServiceProcess(
            name=member.name,
            command=[sys.executable, "-m", f"services.{member.module}", *config],
            address=address,
            environment=variables,
            log=self._log_dir / f"{member.name}.log",
            health_names=("", "tts.v1.TextToSpeech") if member.module == GATEWAY else ("",),
            metrics=f"{host}:{port}" if int(port) else "",
        )

    def wait_until_serving(self, *names: str, timeout_seconds: float = 120.0, report: Report | None = None) -> None:
        """Wait until the processes of these names serve; all of them when none is given.

        Raises:
            StartError: if one of them ends, or the time is over.
        """
        waited = {name: self.processes[name] for name in names or self.processes}
        serving = dict.fromkeys(waited, False)
        deadline = time.monotonic() + timeout_seconds
        while not all(serving.values()):
            for name, process in waited.items():
                serving[name] = serving[name] or process.is_serving()
                if not process.is_running:
                    code = process.process.returncode if process.process else None
                    raise StartError(
                        f"{name} ended with code {code}; the end of {process.log}:\n{process.end_of_log()}"
                    )
            if report:
                report(serving)
            if time.monotonic() > deadline:
                late = next(process for name, process in waited.items() if not serving[name])
                raise StartError(
                    f"{late.name} does not serve after {timeout_seconds:g} s; "
                    f"the end of {late.log}:\n{late.end_of_log()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout_seconds: float = 30.0) -> dict[str, int]:
        """Drain the gateway, then the workers, and return the exit codes."""
        codes = {}
        for name in reversed(self.processes):
            codes[name] = self.processes[name].terminate(timeout_seconds)
        return codes

    def terminate(self, name: str, timeout_seconds: float = 30.0) -> int:
        """Drain one process and return its exit code."""
        return self.processes[name].terminate(timeout_seconds)

    def kill(self, name: str) -> None:
        """End one process as a crash would."""
        self.processes[name].kill()

    def restart(self, name: str, *, timeout_seconds: float = 120.0) -> None:
        """End one process if it still runs, start it at the same address and wait for it."""
        self.processes[name].terminate()
        self.processes[name].start()
        self.wait_until_serving(name, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def free_addresses(count: int) -> list[str]:
    """Return that many loopback addresses that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
