"""Samples in runs of one length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.frontend.audio.pcm import Floats


class Cutter:
    """Joins and cuts what comes in.

    What waits for more is always less than one run: when the text pauses, the last 20 to 100 ms of what was made
    stay here until more text is spoken or the text ends.

    Args:
        run_samples: Length of every run but the last; 0 for runs as they come.
        max_samples: Longest run when they are as they come.
    """

    def __init__(self, run_samples: int, *, max_samples: int) -> None:
        self._run_samples = run_samples
        self._max_samples = max_samples
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Floats) -> Iterator[Floats]:
        """Take in samples; yield the runs that are whole now. No run is empty."""
        if not self._run_samples:
            yield from (samples[at : at + self._max_samples] for at in range(0, len(samples), self._max_samples))
            return
        waiting = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        num_whole = len(waiting) // self._run_samples * self._run_samples
        # A copy: a view would keep all of it in memory.
        self._rest = waiting[num_whole:].copy()
        for at in range(0, num_whole, self._run_samples):
            yield waiting[at : at + self._run_samples]

    def finish(self) -> Floats:
        """Return what is left: less than a run, possibly nothing."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        return rest
