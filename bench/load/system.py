"""The system that is measured: one of this machine's own, or one that runs already."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import psutil

from bench.load import scrape
from bench.local import LocalSystem

_START_SECONDS = 900.0


@dataclass
class Measured:
    """Where a system is, and what can be read of its processes; of one that runs already, nothing."""

    address: str
    cold_start_seconds: Mapping[str, float] = field(default_factory=dict)
    """From a process's start until it serves; the gateway serves when all stages behind it do."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """host:port of the metrics, by process."""
    processes: Mapping[str, psutil.Process] = field(default_factory=dict)
    _lag_before: dict[str, scrape.Buckets] = field(default_factory=dict)

    def cpu_seconds(self) -> dict[str, float]:
        """Of each process so far."""
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: spent.user + spent.system for name, spent in times.items()}

    def begin(self) -> None:
        """Count event-loop lag from here on: loading a model is no part of it."""
        self._lag_before = self._lag()

    def event_loop_lag_p99_ms(self) -> dict[str, float]:
        """By process, since `begin`; empty where no process measures it."""
        lags = {name: scrape.percentile(seen, 99) for name, seen in self._lag_since().items()}
        return {name: 1000 * lag for name, lag in lags.items() if lag is not None}

    def event_loop_looks(self) -> dict[str, int]:
        """How often each process looked how late its loop is, since `begin`; a percentile of few looks says little."""
        return {name: int(seen[max(seen)]) for name, seen in self._lag_since().items()}

    def _lag_since(self) -> dict[str, scrape.Buckets]:
        return {name: scrape.between(self._lag_before.get(name, {}), after) for name, after in self._lag().items()}

    def peak_rss_mb(self) -> dict[str, float]:
        """Most resident memory of each process so far, in MB of 10**6 bytes."""
        peaks = {name: scrape.value(scrape.fetch(address), scrape.PEAK) for name, address in self.metrics.items()}
        return {name: peak / 1e6 for name, peak in peaks.items() if peak is not None}

    def _lag(self) -> dict[str, scrape.Buckets]:
        texts = {name: scrape.fetch(address) for name, address in self.metrics.items()}
        return {name: found for name, text in texts.items() if (found := scrape.buckets(text, scrape.LAG))}


@contextmanager
def own_system(model: Path, threads: int) -> Iterator[Measured]:
    """Start a system of this machine's own and note how long each process takes to serve.

    Raises:
        StartError: A process ends or does not come up.
    """
    # As Ctrl-C: whoever ends a run that takes too long would leave the processes behind otherwise.
    before = signal.signal(signal.SIGTERM, _leave)
    system = LocalSystem(model, threads=threads, log_dir="var/log/bench")
    started = monotonic()
    served: dict[str, float] = {}

    def note(serving: Mapping[str, bool]) -> None:
        for name, is_serving in serving.items():
            if is_serving:
                served.setdefault(name, monotonic() - started)

    try:
        system.start(timeout_seconds=_START_SECONDS, report=note)
        yield of_local(system, served)
    finally:
        system.stop()
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def of_local(system: LocalSystem, cold_start_seconds: Mapping[str, float]) -> Measured:
    """Return what can be read of a system that has been started here."""
    return Measured(
        system.address,
        cold_start_seconds,
        {name: process.metrics for name, process in system.processes.items()},
        {name: psutil.Process(process.pid) for name, process in system.processes.items()},
    )
