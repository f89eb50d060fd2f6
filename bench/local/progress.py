"""A status line that tells which processes serve, redrawn in place on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO


class StatusLine:
    """Call it with what serves; on a file or a pipe only changes are written."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._shown: Mapping[str, bool] = {}

    def __call__(self, serving: Mapping[str, bool]) -> None:
        seconds = time.monotonic() - self._started
        if self._stream.isatty():
            marks = "  ".join(f"{name} {'up' if is_up else '..'}" for name, is_up in serving.items())
            self._stream.write(f"\r\033[K{marks}  {seconds:.0f} s")
            if all(serving.values()):
                self._stream.write("\n")
        else:
            for name, is_up in serving.items():
                if is_up and not self._shown.get(name):
                    self._stream.write(f"{name} serves after {seconds:.1f} s\n")
        self._shown = dict(serving)
        self._stream.flush()
