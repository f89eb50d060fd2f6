"""Phonemes read back from frame scores: a quick measure of what features or codes still say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recipes.mini.phonemes import alphabet

STAY_BONUS = 2.0
# Look-alikes of the alphabet that even a perfect reader would mix up.
MERGED = {"ɐ": "ə", "ᵊ": "ə", "ᵻ": "ə", "ʌ": "ə", "ɜ": "ə", "ɚ": "ə", "ɒ": "ɔ", "ɑ": "ɔ", "a": "æ", "T": "t"}


def merge_table() -> npt.NDArray[np.int64]:
    """Label -> label with look-alikes merged; labels are 0 for silence, else alphabet index + 2."""
    letters = alphabet()
    table = np.arange(len(letters) + 2)
    for source, target in MERGED.items():
        table[letters.index(source) + 2] = letters.index(target) + 2
    return table


def collapse(labels: Sequence[int]) -> list[int]:
    """Runs to single labels, then without silence."""
    kept = [label for index, label in enumerate(labels) if index == 0 or labels[index - 1] != label]
    voiced = [label for label in kept if label != 0]
    return [label for index, label in enumerate(voiced) if index == 0 or voiced[index - 1] != label]


def smooth_path(log_scores: npt.NDArray[np.float32]) -> list[int]:
    """Viterbi path where every change of label costs STAY_BONUS."""
    num_frames, num_labels = log_scores.shape
    score = log_scores[0].copy()
    came_from = np.zeros((num_frames, num_labels), dtype=np.int32)
    for frame in range(1, num_frames):
        best = int(score.argmax())
        jump = score[best] - STAY_BONUS
        came_from[frame] = np.where(score >= jump, np.arange(num_labels), best)
        score = np.maximum(score, jump) + log_scores[frame]
    path = [int(score.argmax())]
    for frame in range(num_frames - 1, 0, -1):
        path.append(int(came_from[frame, path[-1]]))
    return path[::-1]


def edit_distance(reference: Sequence[int], heard: Sequence[int]) -> int:
    row = np.arange(len(heard) + 1)
    for index, symbol in enumerate(reference):
        above = row.copy()
        row[0] = index + 1
        for column, other in enumerate(heard):
            change = above[column] + (symbol != other)
            row[column + 1] = min(change, above[column + 1] + 1, row[column] + 1)
    return int(row[-1])
