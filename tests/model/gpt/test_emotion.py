"""Arithmetic of emotion vectors."""

from __future__ import annotations

import pytest
import torch

from services.gpt_worker.model import emotion


def test_rows_are_chosen_by_direction_not_by_length() -> None:
    """The dot product would choose the long row."""
    style = torch.tensor([1.0, 0.0])
    matrix = torch.tensor([[0.1, 0.0], [5.0, 5.0], [0.0, 1.0], [9.0, 9.0], [0.3, 0.1]])
    assert emotion.choose_rows(style, matrix, [2, 3]) == [0, 2]


def test_chosen_rows_come_from_their_groups() -> None:
    matrix = torch.arange(10.0).view(5, 2)
    assert emotion.emotion_rows(matrix, [2, 3], [1, 0]).tolist() == [[2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize(
    ("weight", "alpha", "expected"),
    [
        (0.3, 0.83, 0.2489),
        (0.35, 0.65, 0.2275),
        (0.5, 1.0, 0.5),
        (0.123456, 1.0, 0.123456),
        (0.4, 7.0, 0.4),
        (0.4, -1.0, 0.0),
    ],
)
def test_scaled_weights_are_cut_not_rounded(weight: float, alpha: float, expected: float) -> None:
    assert emotion.scale_weights([weight], alpha) == [expected]


def test_web_page_damps_and_limits_the_sum() -> None:
    assert emotion.normalize_emotion_vector([0.2, 0, 0, 0, 0, 0, 0.2, 0]) == pytest.approx(
        [0.1875, 0, 0, 0, 0, 0, 0.1375, 0]
    )
    limited = emotion.normalize_emotion_vector([1.0] * 8)
    assert sum(limited) == pytest.approx(0.8)
    assert limited[7] / limited[2] == pytest.approx(0.5625)
    assert emotion.normalize_emotion_vector([0.1] * 8, with_bias=False) == pytest.approx([0.1] * 8)


def test_what_the_weights_leave_belongs_to_the_recording() -> None:
    rows, merged = torch.eye(8), torch.ones(8)
    mixed = emotion.mix_weights(rows, [0.3, 0.2, 0, 0, 0, 0, 0, 0], merged)
    torch.testing.assert_close(mixed, torch.tensor([0.8, 0.7] + [0.5] * 6))


def test_weights_above_one_take_the_recording_away() -> None:
    mixed = emotion.mix_weights(torch.zeros(8, 2), [1.0, 0.5] + [0.0] * 6, torch.ones(2))
    torch.testing.assert_close(mixed, torch.full((2,), -0.5))


def test_alpha_moves_from_speaker_to_recording() -> None:
    speaker, other = torch.zeros(2), torch.ones(2)
    assert emotion.merge_emotion(speaker, other, 0.7).tolist() == pytest.approx([0.7, 0.7])
