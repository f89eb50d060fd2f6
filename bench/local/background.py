"""The system in the background: what is running is written to `var/run` for the next command to find."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench.local.members import GATEWAY
from bench.local.process import ROOT, ServiceProcess, device_kind, health_status
from bench.local.system import LocalSystem

RUN_DIR = ROOT / "var" / "run"
_DRAIN_SECONDS = 40.0


@dataclass(frozen=True)
class Running:
    """A process as an earlier command left it."""

    name: str
    pid: int
    created: float
    """Tells the process from a later one with the same number."""
    address: str
    log: str
    model_dir: str
    """The system's checkpoint directories, as `joined` writes them."""
    health_names: tuple[str, ...]
    metrics: str = ""
    gpu: str = ""
    """What it may see of the machine's GPUs; empty for all of them."""
    asked: dict[str, str] = field(default_factory=dict)
    """What the system was asked for, as `bench.local.asked` writes it."""

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < 1.0
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    @property
    def state(self) -> str:
        """`serving`, `not serving` or `dead`."""
        if self.find() is None:
            return "dead"
        is_serving = all(health_status(self.address, name) == "SERVING" for name in self.health_names)
        return "serving" if is_serving else "not serving"


def joined(model_dirs: Sequence[Path]) -> str:
    """Return the directories as one text to compare."""
    return os.pathsep.join(str(directory.resolve()) for directory in model_dirs)


def record(system: LocalSystem, run_dir: Path = RUN_DIR, *, asked: Mapping[str, str] | None = None) -> None:
    """Write down every process of `system`, and what it was asked for."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for process in system.processes.values():
        entry = asdict(_running(process, system, dict(asked or {})))
        (run_dir / f"{process.name}.json").write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
        (run_dir / f"{process.name}.pid").write_text(f"{process.pid}\n", "utf-8")


def recorded(run_dir: Path = RUN_DIR) -> list[Running]:
    """Return what was written down, workers first; the processes may be dead by now."""
    found = []
    for path in run_dir.glob("*.json"):
        entry = json.loads(path.read_text("utf-8"))
        found.append(Running(**entry | {"health_names": tuple(entry["health_names"])}))
    return sorted(found, key=lambda running: (running.name == GATEWAY, running.name))


def stop(run_dir: Path = RUN_DIR) -> list[str]:
    """Drain what runs, the gateway first, forget it, and return the names of what was stopped."""
    stopped = []
    for running in reversed(recorded(run_dir)):
        if process := running.find():
            process.terminate()
            try:
                process.wait(_DRAIN_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
            stopped.append(running.name)
        for suffix in (".json", ".pid"):
            (run_dir / f"{running.name}{suffix}").unlink(missing_ok=True)
    return stopped


def table(entries: list[Running]) -> str:
    """Return a line for each process."""
    rows = [("SERVICE", "STATE", "ADDRESS", "METRICS", "DEVICE", "PID", "UP", "MEMORY", "LOG")]
    for running in entries:
        process = running.find()
        up = f"{time.time() - running.created:.0f} s" if process else "-"
        memory = f"{process.memory_info().rss / 2**20:.0f} MiB" if process else "-"
        log = Path(running.log)
        shown = str(log.relative_to(ROOT)) if log.is_relative_to(ROOT) else str(log)
        metrics = running.metrics or "-"
        place = (running.address, metrics, _device(running))
        rows.append((running.name, running.state, *place, str(running.pid), up, memory, shown))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _device(running: Running) -> str:
    """Where a worker computes, and which GPU it may see."""
    if running.name == GATEWAY:
        return "-"
    return f"{device_kind(running.address) or '-'}{f' {running.gpu}' if running.gpu else ''}"


def _running(process: ServiceProcess, system: LocalSystem, asked: dict[str, str]) -> Running:
    return Running(
        name=process.name,
        pid=process.pid,
        created=psutil.Process(process.pid).create_time(),
        address=process.address,
        log=str(process.log),
        model_dir=joined(system.model_dirs),
        health_names=process.health_names,
        metrics=process.metrics,
        gpu=process.environment.get("CUDA_VISIBLE_DEVICES", ""),
        asked=asked,
    )
