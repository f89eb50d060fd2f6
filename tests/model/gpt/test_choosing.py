"""Logits processors and the sampler of one row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.gpt_worker.model.logits import (
    SamplingOptions,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    warp,
)
from services.gpt_worker.model.sampling import CodeChooser, Scores, UniformStream, draw, invert, warp_row

REMOVED = float("-inf")


def chooser(options: SamplingOptions, seed: int = 0) -> CodeChooser:
    return CodeChooser(options, vocabulary=6, start_code=4, seed=seed)


def test_penalty_divides_positive_and_multiplies_negative_scores() -> None:
    seen = torch.tensor([True, True, False])
    assert penalise_repetition(torch.tensor([2.0, -2.0, 2.0]), seen, 10).tolist() == pytest.approx([0.2, -20, 2])


def test_penalty_counts_an_id_once_and_prefix_and_start_always() -> None:
    row = chooser(SamplingOptions(do_sample=False, repetition_penalty=10))
    row.replay([2, 2, 2])
    scores = row.process(np.ones(6, np.float32))
    assert scores.tolist() == pytest.approx([1, 0.1, 0.1, 1, 0.1, 1])


def test_ties_with_the_last_kept_score_stay() -> None:
    assert keep_top_k(torch.tensor([3.0, 1.0, 2.0, 2.0]), 2).tolist() == [3.0, REMOVED, 2.0, 2.0]
    assert keep_top_k(torch.tensor([3.0, 1.0]), 0).tolist() == [3.0, 1.0]
    assert keep_top_k(torch.tensor([3.0, 1.0]), 30).tolist() == [3.0, 1.0]


def test_top_p_removes_up_to_and_including_the_border() -> None:
    """Probabilities 1/4, 1/4, 1/2 are exact; a cumulative sum equal to 1 - p is removed."""
    scores = torch.tensor([0.5, 0.25, 0.25]).log2() * float(np.log(2))
    probabilities = scores.sort().values.softmax(-1).cumsum(-1)
    kept = keep_top_p(scores, 1 - float(probabilities[0]))
    assert torch.isfinite(kept).sum() == 2


def test_beams_keep_two_ids_where_one_row_keeps_one() -> None:
    scores = torch.tensor([9.0, 0.0, -1.0])
    options = SamplingOptions(temperature=1, top_k=1, top_p=0.1)
    assert torch.isfinite(warp(scores, options, 1)).sum() == 1
    assert torch.isfinite(warp(scores, options, 2)).tolist() == [True, True, False]


def test_processors_run_in_the_published_order() -> None:
    """Equal to the rules written out over Python lists."""
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        scores = torch.randn(12, generator=generator)
        options = SamplingOptions(temperature=0.7, top_k=6, top_p=0.6)
        scaled = (scores / 0.7).tolist()
        kept = sorted(range(12), key=scaled.__getitem__, reverse=True)[:6]
        total = sum(np.exp(scaled[i]) for i in kept)
        running, removed = 0.0, set()
        for index in reversed(kept[1:]):
            running += float(np.exp(scaled[index])) / total
            if running <= 0.4:
                removed.add(index)
        expected = [i in set(kept) - removed for i in range(12)]
        assert torch.isfinite(warp(scores, options)).tolist() == expected


def uniform(seed: int, segment: int, purpose: int, index: int) -> float:
    return float(UniformStream(seed, segment, purpose).at(index)[0])


def test_a_stream_of_numbers_has_no_memory() -> None:
    stream = UniformStream(5, 6, 7)
    forwards = [stream.at(index).tolist() for index in range(5)]
    assert [stream.at(index).tolist() for index in reversed(range(5))] == forwards[::-1]
    assert forwards == [UniformStream(5, 6, 7).at(index).tolist() for index in range(5)]


def test_random_numbers_depend_on_every_argument_and_on_nothing_else() -> None:
    base = (2**64 - 1, 3, 1, 7)
    first = uniform(*base)
    assert UniformStream(*base[:3]).at(7, count=4)[0] == first
    for position in range(4):
        other = [*base]
        other[position] -= 1
        assert uniform(*other) != first
    # Fixed numbers: another value here makes old streams impossible to resume.
    assert uniform(1, 2, 3, 4) == pytest.approx(UNIFORM_1_2_3_4, abs=0)


UNIFORM_1_2_3_4 = 0.8555499863263427


SCORES = arrays.arrays(
    np.float32,
    st.integers(1, 300),
    # Few different values, so that ties meet every border.
    elements=st.one_of(st.floats(-30, 30, width=32), st.sampled_from([-1.0, 0.0, 0.5, 3.0])),
)


@given(
    scores=SCORES,
    temperature=st.sampled_from([0.1, 0.8, 0.9, 1.0, 1.7]),
    top_k=st.integers(0, 310),
    top_p=st.sampled_from([0.01, 0.3, 0.5, 0.8, 0.9, 1.0]),
)
def test_one_row_is_warped_as_the_published_rules_say_bit_for_bit(
    scores: Scores, temperature: float, top_k: int, top_p: float
) -> None:
    options = SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    assert np.array_equal(warp_row(scores, options), warp(torch.from_numpy(scores), options).numpy())


@given(scores=SCORES, penalty=st.sampled_from([0.1, 1.0, 1.3, 10.0]), seen=st.sets(st.integers(0, 299)))
def test_one_row_is_penalised_as_the_published_rule_says_bit_for_bit(
    scores: Scores, penalty: float, seen: set[int]
) -> None:
    size = max(2, len(scores))
    padded = np.resize(scores, size)
    row = CodeChooser(
        SamplingOptions(do_sample=False, repetition_penalty=penalty), vocabulary=size, start_code=size - 1
    )
    row.replay(code for code in seen if code < size)
    mask = torch.tensor([code in seen | {1, size - 1} for code in range(size)])
    published = penalise_repetition(torch.from_numpy(padded), mask, penalty)
    assert np.array_equal(row.process(padded), published.numpy())


def test_silent_ids_are_never_chosen() -> None:
    row = CodeChooser(SamplingOptions(do_sample=False), vocabulary=6, start_code=4, silent=[4, 2])
    assert row.choose(np.array([0.0, 1.0, 9.0, 2.0, 8.0, 1.0], np.float32)) == 3


def test_random_numbers_are_uniform_over_indices() -> None:
    stream = UniformStream(11, 0, 1)
    drawn = np.array([stream.at(index)[0] for index in range(4000)])
    histogram, _ = np.histogram(drawn, bins=10, range=(0, 1))
    assert abs(histogram - 400).max() < 90
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.05


def test_drawing_inverts_the_distribution_function() -> None:
    scores = torch.tensor([0.1, 0.0, 0.2, 0.7]).log().numpy()
    assert [draw(scores, u) for u in (0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.9999999)] == [0, 0, 2, 2, 3, 3]


def test_rounding_never_draws_an_id_without_weight() -> None:
    assert invert(np.array([0.5, 0.5, 0.0]), 1.0) == 1


def test_draws_follow_the_probabilities() -> None:
    options = SamplingOptions(temperature=1, top_k=0, top_p=1, repetition_penalty=1)
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().numpy()
    row = CodeChooser(options, vocabulary=4, start_code=3, seed=5)
    counts = np.bincount([row.choose(logits) for _ in range(3000)], minlength=4) / 3000
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_replayed_codes_leave_the_chooser_as_chosen_ones() -> None:
    logits = [np.random.default_rng(i).standard_normal(6).astype(np.float32) for i in range(12)]
    straight, resumed = chooser(SamplingOptions(), seed=9), chooser(SamplingOptions(), seed=9)
    codes = [straight.choose(row) for row in logits]
    resumed.replay(codes[:7])
    assert [resumed.choose(row) for row in logits[7:]] == codes[7:]


def test_seed_changes_the_codes() -> None:
    options = SamplingOptions(temperature=1, top_k=0, top_p=1, repetition_penalty=1)
    first, second = (
        [row.choose(np.zeros(6, np.float32)) for _ in range(8)] for row in (chooser(options, 1), chooser(options, 2))
    )
    assert first != second
