"""From the classifier's written answer to eight weights. Total: every string gives weights, garbage gives calm."""

from __future__ import annotations

import json
import re

LABELS = ("高兴", "愤怒", "悲伤", "恐惧", "反感", "低落", "惊讶", "自然")
"""The classifier's names of the emotions, in the order of `model.emotion`."""

CALM = LABELS.index("自然")
LARGEST_WEIGHT = 1.2

_SAD, _MELANCHOLIC = LABELS.index("悲伤"), LABELS.index("低落")
_MELANCHOLIC_WORDS = ("低落", "melancholy", "melancholic", "depression", "depressed", "gloomy")

_LABEL = "|".join(LABELS)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_PAIR = re.compile(rf"({_LABEL})[\"'”’]?\s*[:：=]\s*[\"'“‘]?({_NUMBER})")
# A label alone, or behind one key: 高兴, "高兴", {emotion: 高兴}.
_ONLY_LABEL = re.compile(rf"\W*(?:\w+\W*[:：]\W*)?({_LABEL})\W*")


def weights_of(answer: str, description: str) -> list[float]:
    """Eight weights from 0 to 1.2, in the order of `LABELS`.

    Args:
        answer: What the classifier wrote: JSON with a number for each label, the same in broken JSON, or one label.
        description: What it was asked about.
    """
    found = _from_json(answer) or _from_pairs(answer) or _from_label(answer)
    weights = [min(max(found.get(label, 0.0), 0.0), LARGEST_WEIGHT) for label in LABELS]
    if any(word in description.lower() for word in _MELANCHOLIC_WORDS):
        # As published: of such a description the classifier calls melancholy sadness.
        weights[_SAD], weights[_MELANCHOLIC] = weights[_MELANCHOLIC], weights[_SAD]
    if not any(weights):
        weights[CALM] = 1.0
    return weights


def _from_json(answer: str) -> dict[str, float]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    if isinstance(value, str):
        return _from_label(value)
    if not isinstance(value, dict):
        return {}
    numbers = {label: number for label in LABELS if (number := _number(value.get(label))) is not None}
    labels = {each: 1.0 for each in value.values() if isinstance(each, str) and each in LABELS}
    return numbers or labels


def _number(value: object) -> float | None:
    """The value as a number, also where it was written as a string; None for all else, NaN included."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if number != number else number  # noqa: PLR0124 - only a NaN differs from itself


def _from_pairs(answer: str) -> dict[str, float]:
    return {label: float(number) for label, number in _PAIR.findall(answer)}


def _from_label(answer: str) -> dict[str, float]:
    match = _ONLY_LABEL.fullmatch(answer)
    return {match[1]: 1.0} if match else {}
