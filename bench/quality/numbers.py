"""In which numbers speech is judged: those that a local system would serve it in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bench.local.members import Member
from bench.local.sharing import shared_settings

DTYPES = ("auto", "fp32", "fp16", "bf16", "mixed")
"""What the workers' setting `dtype` may be."""

_WORKER = "s2mel_worker"
"""All workers of a system have the same word; of this one it changes most."""


def served_dtype(environment: Mapping[str, str] = os.environ) -> str:
    """The setting `dtype` of the workers that `make up`, `make demo` and `make bench` would start here."""
    worker = Member(_WORKER, _WORKER, Path())
    variables = {**environment, **shared_settings(worker, environment)}
    return variables.get(f"{worker.prefix}DTYPE") or variables.get("TTS_DTYPE") or "auto"
