"""CPU seconds of several ways to do the same work, taken in turn.

What else a machine does lengthens the time by the clock and, through caches and frequency, a little the CPU time
too. Slices of all ways alternate, so that each meets the same conditions, and their ratio holds.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Slice(NamedTuple):
    """A piece of work that was just done."""

    part: str
    share: float
    """Of the whole part, 1 being all of it."""


SET_UP = Slice("set-up", 0.0)
"""What a work yields after preparing: it is not counted."""

Work = Iterator[Slice]


@dataclass
class Spent:
    """CPU seconds by part, and how much of each part they are for."""

    seconds: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    def add(self, piece: Slice, seconds: float) -> None:
        self.seconds[piece.part] = self.seconds.get(piece.part, 0.0) + seconds
        self.shares[piece.part] = self.shares.get(piece.part, 0.0) + piece.share

    def of(self, part: str) -> float:
        """CPU seconds of a whole part; one of which more or less than all was run is scaled linearly."""
        return self.seconds[part] / self.shares[part]

    @property
    def total(self) -> float:
        """CPU seconds of all parts, each counted whole."""
        return sum(self.of(part) for part in self.seconds)


def cpu_seconds() -> float:
    """What this process has computed so far, its threads and the kernel on its behalf included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def interleave(works: Mapping[str, Work]) -> dict[str, Spent]:
    """Do a slice of each work in turn until all are done; what a slice costs is counted up to its yield."""
    spent = {name: Spent() for name in works}
    alive = dict(works)
    while alive:
        for name, work in list(alive.items()):
            before = cpu_seconds()
            piece = next(work, None)
            if piece is None:
                del alive[name]
            elif piece is not SET_UP:
                spent[name].add(piece, cpu_seconds() - before)
    return spent
