"""Lets the steps that can wait stand back for the urgent ones of other processes on the same cores."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Lanes:
    """Runs a step on the calling thread, or, if it works ahead, on a thread of lower standing; never both at once.

    Stages that share cores know nothing of each other's listeners, but the operating system can put one stage's urgent
    step before another's work for later. Which lane a step takes changes when it runs, never what it computes.

    Args:
        ahead_niceness: What the second thread adds to the niceness of the process, as `nice` counts; 0 makes none.
            Only Linux has a niceness of each thread: elsewhere there is no second one.
    """

    def __init__(self, ahead_niceness: int) -> None:
        self._niceness = ahead_niceness
        self._ahead: ThreadPoolExecutor | None = None
        if ahead_niceness and sys.platform == "linux":
            self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead", initializer=self._stand_back)

    def run(self, compute: Callable[[], Result], *, is_ahead: bool) -> Result:
        """Compute, wait for it, and give its result or raise its error."""
        if self._ahead is None or not is_ahead:
            return compute()
        return self._ahead.submit(compute).result()

    def _stand_back(self) -> None:
        # On Linux the niceness is the thread's own, although the call speaks of processes.
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + self._niceness))
