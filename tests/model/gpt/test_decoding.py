"""Rows decoded one by one and in batches of fixed shape; on CPU tensors, where a graph is the plain call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from services.common.arrays import Array
from services.common.cuda_graphs import Compute
from services.gpt_worker.model.decoding import BATCH_BUCKETS, BatchDecoder, Decoder, NextCode, RowDecoder, new_decoder
from services.gpt_worker.model.unified_voice import UnifiedVoice

TEXTS = ([5, 9, 3, 12], [7], [2, 3], [4, 4, 8])
ROWS, TURNS = len(TEXTS), 6


def first_of(rows: list[int]) -> st.SearchStrategy[list[int]]:
    """Some rows, in any order."""
    return st.integers(1, len(rows)).map(lambda count: rows[:count])


def start(voice: UnifiedVoice, conds: Tensor, decoder: Decoder, row: int) -> None:
    prefix = voice.embed_prefix(conds, voice.frame_text(TEXTS[row]))
    voice.prefill(prefix, decoder.cache, row)


def next_code(row: int, index: int) -> NextCode:
    """The index-th code (from 1) that the tests feed to a row."""
    return NextCode(row, (3 * row + index) % 16, index)


@pytest.fixture(scope="module")
def alone(voice: UnifiedVoice, conds: Tensor) -> list[list[Array]]:
    """Latents of each row when it decodes by itself."""
    decoder = RowDecoder(voice, rows=ROWS, max_length=192)
    for row in range(ROWS):
        start(voice, conds, decoder, row)
    return [[decoder.decode([next_code(row, index)])[0].latent for index in range(1, TURNS + 1)] for row in range(ROWS)]


def test_a_cpu_decodes_row_by_row(voice: UnifiedVoice) -> None:
    decoder = new_decoder(voice, rows=2, max_length=64)
    assert isinstance(decoder, RowDecoder)
    assert decoder.batch_limit == 1


@pytest.mark.parametrize(("rows", "limit"), [(1, 1), (3, 4), (16, 16), (200, 32)])
def test_a_batch_is_at_most_the_largest_bucket(voice: UnifiedVoice, rows: int, limit: int) -> None:
    assert BatchDecoder(voice, rows=rows, max_length=64).batch_limit == limit


@settings(deadline=None, max_examples=10)
@given(turns=st.lists(st.permutations(range(ROWS)).flatmap(first_of), min_size=1, max_size=TURNS))
def test_rows_join_and_leave_a_batch_as_they_like(
    voice: UnifiedVoice, conds: Tensor, alone: list[list[Array]], turns: list[list[int]]
) -> None:
    """Whatever rows share a step, in whatever order, each gets what it gets alone."""
    decoder = BatchDecoder(voice, rows=ROWS, max_length=192)
    for row in range(ROWS):
        start(voice, conds, decoder, row)
    counts = [0] * ROWS
    for rows in turns:
        made = decoder.decode([next_code(row, counts[row] + 1) for row in rows])
        for row, output in zip(rows, made, strict=True):
            np.testing.assert_allclose(output.latent, alone[row][counts[row]], atol=2e-5, rtol=1e-4)
            counts[row] += 1


def test_a_batch_gives_the_logits_of_its_latents(voice: UnifiedVoice, conds: Tensor) -> None:
    decoder = BatchDecoder(voice, rows=4, max_length=192)
    start(voice, conds, decoder, 2)
    [output] = decoder.decode([NextCode(2, 5, 1)])
    expected = voice.mel_head(torch.from_numpy(output.latent)).numpy()
    assert output.logits.dtype == np.float32
    np.testing.assert_allclose(output.logits, expected, atol=1e-5, rtol=1e-5)


class Preparing:
    """Counts what it is given, and repeats it as it is."""

    def __init__(self) -> None:
        self.count = 0
        self.times_forgotten = 0

    def __call__(self, compute: Compute) -> Compute:
        self.count += 1
        return compute

    def forget(self) -> None:
        self.times_forgotten += 1


def test_a_step_is_prepared_once_for_each_shape(voice: UnifiedVoice, conds: Tensor) -> None:
    prepared = Preparing()
    decoder = BatchDecoder(voice, rows=4, max_length=192, capture=prepared)
    decoder.warm_up()
    assert prepared.count == len([size for size in BATCH_BUCKETS if size <= 4])
    for row in range(3):
        start(voice, conds, decoder, row)
    for index in range(1, 4):
        decoder.decode([NextCode(row, 5, index) for row in range(3)])
    assert prepared.count == 3, "three rows take the step for four"


def test_no_step_is_prepared_for_more_rows_than_may_share_one(voice: UnifiedVoice) -> None:
    prepared = Preparing()
    decoder = BatchDecoder(voice, rows=32, max_length=192, max_batch_size=2, capture=prepared)
    decoder.warm_up()
    assert decoder.batch_limit == prepared.count == 2
    assert len(decoder.cache.lengths) == 33, "all can be in work"


def test_rows_go_on_when_what_was_prepared_is_given_up(
    voice: UnifiedVoice, conds: Tensor, alone: list[list[Array]]
) -> None:
    prepared = Preparing()
    decoder = BatchDecoder(voice, rows=ROWS, max_length=192, capture=prepared)
    for row in range(ROWS):
        start(voice, conds, decoder, row)
    for index in range(TURNS):
        made = decoder.decode([next_code(row, index + 1) for row in range(ROWS)])
        for row, output in enumerate(made):
            np.testing.assert_allclose(output.latent, alone[row][index], atol=2e-5, rtol=1e-4)
        decoder.free_memory()
    assert prepared.count == prepared.times_forgotten == TURNS
