"""The file that every measuring command leaves behind, and the check that the machine is free enough to measure."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from services.common.devices import cpu_name

MAX_FOREIGN_SHARE = 0.1
"""Above this share of CPU time taken by others, times say little."""

Figures = dict[str, dict[str, object]]
"""By key: value, unit and, where there is one, goal and whether it is met."""


def write(path: Path, name: str, command: str, machine: str, figures: Mapping[str, Mapping[str, object]]) -> None:
    """Write the figures of one run as JSON."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    content = {
        "name": name,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": machine,
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def machine(share: float) -> str:
    """This machine in words, with the share of its CPU time that others took."""
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{cpu_name()}, {platform.machine()}, {cores}, others took {share:.0%} of the CPU"


def foreign_share() -> float:
    """Return the share of this machine's CPU time that other processes take, over two seconds."""
    own = psutil.Process()
    before = own.cpu_times()
    busy = psutil.cpu_percent(interval=2.0) / 100
    after = own.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return max(0.0, busy - spent / 2.0 / (os.cpu_count() or 1))
