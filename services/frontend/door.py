"""A bound on how many of something are open at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import OverloadedError
from services.common.reasons import Reason


class Door:
    """Lets so many in; one more is refused at once instead of waiting.

    Args:
        limit: How many may be inside.
        what: Names them in the refusal, in the plural.
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._num_inside = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside while the block runs.

        Raises:
            OverloadedError: All places are taken.
        """
        if self._num_inside >= self._limit:
            raise OverloadedError(f"{self._limit} {self._what} are in work already", reason=Reason.TOO_MANY_STREAMS)
        self._num_inside += 1
        try:
            yield
        finally:
            self._num_inside -= 1
