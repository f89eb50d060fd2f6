"""A cache that holds what was used last, within a number of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.common import metrics
from services.common.byte_lru import ByteLru

SIZES = st.integers(0, 12)


def counted(name: str, outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("tts_cache_lookups_total", {"cache": name, "outcome": outcome}) or 0


def gauge(name: str, cache: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, {"cache": cache}) or 0


def test_the_one_that_was_used_longest_ago_makes_room() -> None:
    cache: ByteLru[str, int] = ByteLru("rooms", max_bytes=3)
    for key in ("a", "b", "c"):
        cache.put(key, 1, 1)
    cache.get("a")
    cache.put("d", 1, 1)

    assert [cache.get(key) for key in ("a", "b", "c", "d")] == [1, None, 1, 1]


def test_another_value_takes_the_place_of_the_first() -> None:
    cache: ByteLru[str, int] = ByteLru("places", max_bytes=3)
    cache.put("a", 1, 2)
    cache.put("a", 2, 3)

    assert (cache.get("a"), cache.num_bytes, len(cache)) == (2, 3, 1)


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache: ByteLru[str, int] = ByteLru("small", max_bytes=3)
    cache.put("a", 1, 1)
    cache.put("huge", 2, 4)

    assert (cache.get("huge"), cache.get("a")) == (None, 1)


def test_a_value_that_has_become_too_large_is_not_kept_either() -> None:
    """Better none than an old one."""
    cache: ByteLru[str, int] = ByteLru("grown", max_bytes=3)
    cache.put("a", 1, 1)
    cache.put("a", 2, 4)

    assert (cache.get("a"), cache.num_bytes) == (None, 0)


@given(st.integers(0, 30), st.lists(st.tuples(st.booleans(), st.integers(0, 6), SIZES), max_size=60))
def test_no_use_breaks_the_limit_and_what_is_kept_was_used_last(
    max_bytes: int, uses: list[tuple[bool, int, int]]
) -> None:
    cache: ByteLru[int, int] = ByteLru("any", max_bytes=max_bytes)
    model: list[tuple[int, int]] = []  # (key, size), the one that was used last at the end
    for is_put, key, size in uses:
        if is_put:
            cache.put(key, size, size)
            model = [entry for entry in model if entry[0] != key]
            if size <= max_bytes:
                while sum(kept for _, kept in model) + size > max_bytes:
                    model.pop(0)
                model.append((key, size))
        else:
            found = dict(model).get(key)
            assert cache.get(key) == found
            if found is not None:
                model = [*(entry for entry in model if entry[0] != key), (key, found)]
        assert cache.num_bytes == sum(kept for _, kept in model) <= max_bytes
        assert len(cache) == len(model)


def test_everything_is_counted_under_the_cache_s_name() -> None:
    cache: ByteLru[str, int] = ByteLru("counted", max_bytes=3)
    cache.get("a")
    cache.put("a", 1, 2)
    cache.get("a")
    cache.get("a")
    cache.put("b", 1, 3)

    assert (counted("counted", "hit"), counted("counted", "miss")) == (2, 1)
    assert gauge("tts_cache_evictions_total", "counted") == 1
    assert gauge("tts_cache_bytes", "counted") == 3
    assert gauge("tts_cache_limit_bytes", "counted") == 3
