"""The sentences, and what is known of a speech."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.material import Voice, costs_of, read_sentences
from tests.unit.quality.walking_engines import speech_of


def test_the_sentences_are_many_different_and_of_a_sentence_s_length() -> None:
    sentences = read_sentences()

    assert len(sentences) == len(set(sentences)) >= 40
    assert all(8 <= len(sentence.split()) <= 25 for sentence in sentences)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_codes_come_in_groups_and_the_last_ends_the_segment(voice: Voice, size: int) -> None:
    speech = speech_of(voice, 20)
    chunks = list(speech.chunks(size))

    assert np.array_equal(np.concatenate([chunk.tensors["codes"] for chunk in chunks]), speech.codes)
    assert [chunk.start for chunk in chunks] == list(range(0, 20, size))
    assert [chunk.is_segment_end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_the_prefill_is_what_the_first_codes_took_beyond_the_others() -> None:
    assert costs_of([1, 1, 1, 1], [1.5, 2.0, 2.5, 3.0]) == (1.0, 0.5)
    assert costs_of([5, 5, 0], [3.5, 6.0, 6.0]) == (1.0, 0.5)


def test_a_speech_of_one_chunk_has_only_a_prefill() -> None:
    assert costs_of([5], [3.0]) == (3.0, 0.0)
