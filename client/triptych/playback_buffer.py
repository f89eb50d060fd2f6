"""Samples between the one who receives them and the thread of the sound card, which waits for nobody."""

from __future__ import annotations

import threading
from collections import deque

from triptych.encodings import Samples


class PlaybackBuffer:
    """A queue of samples that counts how often it ran dry; `put` and `fill` may be called in different threads.

    Nothing sounds until `prebuffer_samples` are there, at the beginning and after each underrun, so that one late
    arrival is one gap and not many.
    """

    def __init__(self, prebuffer_samples: int) -> None:
        self._prebuffer_samples = prebuffer_samples
        self._lock = threading.Lock()
        self._runs: deque[Samples] = deque()
        self._buffered_samples = 0
        self._is_playing = False
        self._is_ended = False
        self._has_sounded = False
        self._gap_samples = 0
        self._underruns = 0
        self._silent_samples = 0

    @property
    def buffered_samples(self) -> int:
        return self._buffered_samples

    @property
    def underruns(self) -> int:
        """How often the speech stood still before it went on. The silence after its end is none."""
        return self._underruns

    @property
    def silent_samples(self) -> int:
        """The length of all these gaps."""
        return self._silent_samples

    def put(self, samples: Samples) -> None:
        with self._lock:
            self._runs.append(samples)
            self._buffered_samples += len(samples)

    def end(self) -> None:
        """Say that no more samples come: what is there is played, however little it is."""
        with self._lock:
            self._is_ended = True

    def fill(self, out: Samples, *, was_late: bool = False) -> bool:
        """Write the next samples, or silence, over all of `out`; return False when there is nothing left to play.

        Args:
            out: What the sound card plays next.
            was_late: The card has played silence because this call came too late.
        """
        with self._lock:
            if was_late and self._is_playing:
                self._underruns += 1
            if not self._is_playing:
                self._resume()
            taken = self._take(out) if self._is_playing else 0
            out[taken:] = 0
            if self._is_ended and not self._buffered_samples:
                return False
            missing = len(out) - taken
            if missing:
                self._is_playing = False
                self._gap_samples += missing if self._has_sounded else 0
            return True

    def _resume(self) -> None:
        is_enough = self._is_ended or self._buffered_samples >= self._prebuffer_samples
        self._is_playing = is_enough and self._buffered_samples > 0
        if self._is_playing and self._gap_samples:
            self._underruns += 1
            self._silent_samples += self._gap_samples
            self._gap_samples = 0

    def _take(self, out: Samples) -> int:
        """Move what there is to the beginning of `out` and return how much it was."""
        taken = 0
        while self._runs and taken < len(out):
            run = self._runs.popleft()
            part = run[: len(out) - taken]
            out[taken : taken + len(part)] = part
            taken += len(part)
            if len(part) < len(run):
                self._runs.appendleft(run[len(part) :])
        self._buffered_samples -= taken
        self._has_sounded = self._has_sounded or taken > 0
        return taken
