"""What the text-to-emotion model wrote, as weights: well-formed, broken, and beside the point."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gpt_worker.emotion_text.answer import LABELS, LARGEST_WEIGHT, weights_of

HAPPY, ANGRY, SAD, AFRAID, DISGUSTED, MELANCHOLIC, SURPRISED, CALM = range(8)
CALM_ONLY = [0.0] * 7 + [1.0]


def only(index: int, weight: float = 1.0) -> list[float]:
    return [weight if each == index else 0.0 for each in range(8)]


def test_json_gives_each_label_its_number_in_the_order_of_the_model() -> None:
    answer = json.dumps(dict(zip(LABELS, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], strict=True)), ensure_ascii=False)
    assert weights_of(answer, "") == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"愤怒": 0.75}', only(ANGRY, 0.75)),
        ('{"自然": 0.2, "高兴": 1}', [1.0, *[0.0] * 6, 0.2]),
        ('{"高兴": "0.5"}', only(HAPPY, 0.5)),
        ('{"高兴": 0.5, "无聊": 0.9}', only(HAPPY, 0.5)),
        ('{"高兴": null, "恐惧": 0.5}', only(AFRAID, 0.5)),
    ],
)
def test_missing_labels_are_0_and_unknown_ones_are_left_out(answer: str, expected: list[float]) -> None:
    assert weights_of(answer, "") == expected


@pytest.mark.parametrize(
    "answer",
    [
        '{"悲伤": 0.6, "恐惧": 0.3',
        "悲伤: 0.6, 恐惧: 0.3",
        "悲伤：0.6\n恐惧：.3",
        "{'悲伤': 0.6, '恐惧': 0.3}",
        '```json\n{"悲伤": 0.6, "恐惧": 3e-1}\n```',
        'the answer is {"悲伤": 0.6, "恐惧": 0.30} and no more',
    ],
)
def test_pairs_are_found_in_broken_json(answer: str) -> None:
    assert weights_of(answer, "") == [0, 0, 0.6, 0.3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "answer", ["惊讶", '"惊讶"', "惊讶。", '{"emotion": "惊讶"}', "{emotion: 惊讶}", "情感：惊讶", '["惊讶"]']
)
def test_a_label_without_a_number_counts_fully(answer: str) -> None:
    assert weights_of(answer, "") == only(SURPRISED)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        "I cannot classify this.",
        "null",
        "7",
        "[]",
        "{}",
        "[" * 5000,
        '{"无聊": 1.0}',
        "无聊: 0.9",
        '{"高兴": NaN}',
        '{"高兴": true}',
        '{"高兴": [1]}',
        '{"高兴": 0, "悲伤": -0.5}',
        "他高兴吗",
    ],
)
def test_what_says_nothing_is_calm(answer: str) -> None:
    assert weights_of(answer, "") == CALM_ONLY


def test_weights_are_clamped() -> None:
    answer = '{"高兴": 7, "愤怒": -1, "悲伤": 1.1, "恐惧": 1e999}'
    assert weights_of(answer, "") == [LARGEST_WEIGHT, 0.0, 1.1, LARGEST_WEIGHT, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("word", ["低落", "melancholy", "Melancholic", "DEPRESSION", "depressed", "so gloomy today"])
def test_sad_and_melancholic_change_places_for_a_melancholic_description(word: str) -> None:
    answer = '{"悲伤": 0.9, "低落": 0.1}'
    assert weights_of(answer, f"feels {word}") == [0, 0, 0.1, 0, 0, 0.9, 0, 0]
    assert weights_of(answer, "feels sad") == [0, 0, 0.9, 0, 0, 0.1, 0, 0]


@given(st.text() | st.text(alphabet="".join(LABELS) + '{}[]":：, .0123456789eE-+\n'), st.text())
def test_every_answer_gives_eight_weights_in_range(answer: str, description: str) -> None:
    weights = weights_of(answer, description)
    assert len(weights) == 8
    assert all(0 <= weight <= LARGEST_WEIGHT for weight in weights)
    assert any(weights)


@given(st.lists(st.floats(0, 1.2), min_size=8, max_size=8).filter(any))
def test_well_formed_answers_are_read_exactly(numbers: list[float]) -> None:
    answer = json.dumps(dict(zip(LABELS, numbers, strict=True)), ensure_ascii=False)
    assert weights_of(answer, "happy") == numbers
