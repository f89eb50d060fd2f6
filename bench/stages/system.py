"""The real system on the device: four processes under `bench.load`, where all that they need is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_REQUIREMENTS = Path("requirements")
_REPORT = Path("var/reports/bench-gpu-system.json")
_SHORT = ("--streams", "1,2,4", "--pace", "heard", "--seconds", "30", "--rates", "1", "--rate-seconds", "20")
"""Time on a GPU machine may be lent."""


def real_system(device: str) -> int:
    """Run `bench.load` on the embedded checkpoint with all workers on `device`; its own exit status.

    Where a package is missing it is named, and nothing is run: 0.
    """
    missing = missing_packages(_REQUIREMENTS / "run.txt")
    if missing:
        print(f"the real system was not measured; not installed here: {', '.join(missing)}")
        return 0
    # The vocoder's device is left to itself: where its runtime knows no GPU it takes the CPU and says so.
    environment = os.environ | {"TTS_GPT_DEVICE": device, "TTS_S2MEL_DEVICE": device}
    command = [sys.executable, "-m", "bench.load", "--busy", "--no-plots", "--report", str(_REPORT), *_SHORT]
    return subprocess.run(command, env=environment, check=False).returncode


def missing_packages(file: Path) -> list[str]:
    """Packages of a requirement file, and of those that it includes, that are not here in their major version."""
    missing: list[str] = []
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("-r "):
            missing += missing_packages(file.parent / line.removeprefix("-r ").strip())
        elif match := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line):
            missing += [] if _is_installed(*match.groups()) else [match.group()]
    return sorted(set(missing))


def _is_installed(name: str, wanted: str) -> bool:
    try:
        return version(name).partition(".")[0] == wanted.partition(".")[0]
    except PackageNotFoundError:
        return False
