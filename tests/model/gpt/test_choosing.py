"""Logits processors and the sampler of one row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.gpt_worker.model.logits import (
    SamplingOptions,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    warp,
)
from services.gpt_worker.model.sampling import CodeChooser, draw, invert, uniforms

REMOVED = float("-inf")


def chooser(options: SamplingOptions, seed: int = 0) -> CodeChooser:
    return CodeChooser(options, vocabulary=6, start_code=4, seed=seed)


def test_penalty_divides_positive_and_multiplies_negative_scores() -> None:
    seen = torch.tensor([True, True, False])
    assert penalise_repetition(torch.tensor([2.0, -2.0, 2.0]), seen, 10).tolist() == pytest.approx([0.2, -20, 2])


def test_penalty_counts_an_id_once_and_prefix_and_start_always() -> None:
    row = chooser(SamplingOptions(do_sample=False, repetition_penalty=10))
    row.replay([2, 2, 2])
    scores = row.process(torch.ones(6))
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


def test_random_numbers_depend_on_every_argument_and_on_nothing_else() -> None:
    base = (2**64 - 1, 3, 1, 7)
    first = uniforms(*base)[0]
    assert uniforms(*base, count=4)[0] == first
    for position in range(4):
        other = [*base]
        other[position] -= 1
        assert uniforms(*other)[0] != first
    # Fixed numbers: another value here makes old streams impossible to resume.
    assert uniforms(1, 2, 3, 4)[0] == pytest.approx(UNIFORM_1_2_3_4, abs=0)


UNIFORM_1_2_3_4 = 0.8555499863263427


def test_random_numbers_are_uniform_over_indices() -> None:
    drawn = np.array([uniforms(11, 0, 1, index)[0] for index in range(4000)])
    histogram, _ = np.histogram(drawn, bins=10, range=(0, 1))
    assert abs(histogram - 400).max() < 90
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.05


def test_drawing_inverts_the_distribution_function() -> None:
    scores = torch.tensor([0.1, 0.0, 0.2, 0.7]).log()
    assert [draw(scores, u) for u in (0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.9999999)] == [0, 0, 2, 2, 3, 3]


def test_rounding_never_draws_an_id_without_weight() -> None:
    assert invert(np.array([0.5, 0.5, 0.0]), 1.0) == 1


def test_draws_follow_the_probabilities() -> None:
    options = SamplingOptions(temperature=1, top_k=0, top_p=1, repetition_penalty=1)
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    row = CodeChooser(options, vocabulary=4, start_code=3, seed=5)
    counts = np.bincount([row.choose(logits) for _ in range(3000)], minlength=4) / 3000
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_replayed_codes_leave_the_chooser_as_chosen_ones() -> None:
    logits = [torch.randn(6, generator=torch.Generator().manual_seed(i)) for i in range(12)]
    straight, resumed = chooser(SamplingOptions(), seed=9), chooser(SamplingOptions(), seed=9)
    codes = [straight.choose(row) for row in logits]
    resumed.replay(codes[:7])
    assert [resumed.choose(row) for row in logits[7:]] == codes[7:]


def test_seed_changes_the_codes() -> None:
    options = SamplingOptions(temperature=1, top_k=0, top_p=1, repetition_penalty=1)
    first, second = (
        [row.choose(torch.zeros(6)) for _ in range(8)] for row in (chooser(options, 1), chooser(options, 2))
    )
    assert first != second
