"""Keeps what was used last, as far as a number of bytes allows; what it does is counted under its name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from services.common import metrics

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteLru(Generic[Key, Value]):
    """A least-recently-used cache whose entries have sizes. For one thread.

    Args:
        name: Of the cache, in the metrics; two caches of one process have different names.
        max_bytes: What all entries together may take. An entry that alone is larger is not kept; 0 keeps nothing.
    """

    def __init__(self, name: str, *, max_bytes: int) -> None:
        self.num_bytes = 0
        """What the entries take together."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._hits = metrics.CACHE_LOOKUPS.labels(name, "hit")
        self._misses = metrics.CACHE_LOOKUPS.labels(name, "miss")
        self._evictions = metrics.CACHE_EVICTIONS.labels(name)
        self._bytes = metrics.CACHE_BYTES.labels(name)
        metrics.CACHE_LIMIT_BYTES.labels(name).set(max_bytes)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value, which thereby is the last to go; None when it is not here."""
        entry = self._entries.get(key)
        if entry is None:
            self._misses.inc()
            return None
        self._hits.inc()
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, num_bytes: int) -> None:
        """Keep a value, in place of what the key had; those that were used longest ago make room for it."""
        self._remove(key)
        if num_bytes <= self._max_bytes:
            while self.num_bytes + num_bytes > self._max_bytes:
                self._remove(next(iter(self._entries)))
                self._evictions.inc()
            self._entries[key] = (value, num_bytes)
            self.num_bytes += num_bytes
        self._bytes.set(self.num_bytes)

    def clear(self) -> None:
        """Keep nothing of what is here."""
        self._evictions.inc(len(self._entries))
        self._entries.clear()
        self.num_bytes = 0
        self._bytes.set(0)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.num_bytes -= entry[1]
