"""What a system was asked for, to be compared with what runs already; values are digests, since some are secret."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from bench.local.members import GATEWAY, WORKERS

_ARGUMENTS = {
    "addresses": (GATEWAY, *WORKERS),
    "METRICS": ("metrics",),
    "GPUS": ("gpus",),
    "THREADS": ("threads",),
}


def asked_for(arguments: argparse.Namespace) -> dict[str, str]:
    """Return a digest of everything but the checkpoints that decides how the processes run, by what a user calls it."""
    values: dict[str, object] = {
        name: [getattr(arguments, argument) for argument in parts] for name, parts in _ARGUMENTS.items()
    }
    values["CONFIG"] = _content(arguments.config)
    values["TTS_* variables"] = sorted(item for item in os.environ.items() if item[0].upper().startswith("TTS_"))
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in values.items()}


def differing(running: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """Return the names of what is not the same in both."""
    return [name for name in asked if running.get(name) != asked[name]]


def _content(config: Path | None) -> bytes | None:
    return config.read_bytes() if config is not None else None
