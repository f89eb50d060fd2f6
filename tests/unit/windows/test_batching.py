"""Batches of renders of any lengths: nothing lost, nothing padded beyond the bound, few shapes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.s2mel_worker.model.batching import MAX_PADDING, groups, rows_bucket, size_bucket

LENGTHS = st.lists(st.integers(1, 4000), max_size=60)


@given(LENGTHS, st.integers(1, 32))
def test_every_item_is_in_one_batch(lengths: list[int], most: int) -> None:
    made = groups(lengths, most=most)
    assert sorted(item for group in made for item in group) == list(range(len(lengths)))
    assert all(1 <= len(group) <= most for group in made)


@given(LENGTHS)
def test_padding_is_bounded(lengths: list[int]) -> None:
    for group in groups(lengths, most=32):
        mine = [lengths[item] for item in group]
        assert size_bucket(max(mine)) * len(mine) <= MAX_PADDING * sum(mine)


@given(st.integers(1, 100_000))
def test_a_bucket_holds_its_length_and_hardly_more(length: int) -> None:
    assert length <= size_bucket(length) <= length * 9 / 8
    assert size_bucket(size_bucket(length)) == size_bucket(length)


def test_there_are_eight_buckets_an_octave() -> None:
    assert len({size_bucket(length) for length in range(257, 513)}) == 8


def test_alike_items_share_a_batch() -> None:
    assert groups([300, 299, 298, 20], most=32) == [[0, 1, 2], [3]]


@given(st.integers(1, 100))
def test_rows_are_rounded_up(num_rows: int) -> None:
    assert num_rows <= rows_bucket(num_rows) <= max(num_rows * 1.5, 1)
