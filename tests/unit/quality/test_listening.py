"""What judges say becomes means with intervals, beside the whole render of the same speeches."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.comparison import WHOLE
from bench.quality.listening import Impression, Opinion, Panel, Words
from bench.quality.material import Speech, Voice
from bench.quality.rendering import Rendered
from services.common.arrays import Array
from tests.unit.quality.walking_engines import speech_of

RATE_HZ = 400


class Judges:
    """Understand one word less for every sample; renders of more than one sample sound like somebody else."""

    def words(self, samples: Array, rate_hz: int, said: str) -> Words:
        return Words(num_wrong=len(samples), num_said=10)

    def impression(self, samples: Array, rate_hz: int) -> Impression:
        return Impression(np.array([1.0, 0.0]) if len(samples) == 1 else np.array([0.6, 0.8]), mos=float(len(samples)))

    def prompt(self, speech: Speech) -> Array:
        return np.array([1.0, 0.0])


def rendered(num_samples: int) -> Rendered:
    return Rendered(np.zeros((1, 1), np.float32), np.zeros(num_samples, np.float32), [], [])


@pytest.fixture
def opinions(voice: Voice) -> dict[str, Opinion]:
    panel = Panel(Judges(), RATE_HZ, in_words=["balanced"])
    speech = speech_of(voice, 10)
    panel(speech, {WHOLE: rendered(1), "balanced": rendered(2), "swept": rendered(3)})
    panel(speech, {WHOLE: rendered(1), "balanced": rendered(4)})
    return panel.opinions()


def test_every_render_makes_an_impression(opinions: dict[str, Opinion]) -> None:
    assert [(name, said.num_speeches, said.mos.value) for name, said in opinions.items()] == [
        (WHOLE, 2, 1),
        ("balanced", 2, 3),
        ("swept", 1, 3),
    ]


def test_likeness_is_to_the_prompt_and_to_the_whole_render(opinions: dict[str, Opinion]) -> None:
    assert opinions[WHOLE].likeness_to_whole.value == opinions[WHOLE].likeness_to_prompt.value == 1
    assert opinions["balanced"].likeness_to_prompt.value == pytest.approx(0.6)
    assert opinions["balanced"].likeness_to_whole.value == pytest.approx(0.6)


def test_wrong_words_are_counted_of_profiles_and_the_whole_render(opinions: dict[str, Opinion]) -> None:
    whole, streamed = opinions[WHOLE].wrong_words, opinions["balanced"].wrong_words
    assert whole is not None
    assert streamed is not None

    assert (whole.value, streamed.value) == (10, 30)
    assert opinions["swept"].wrong_words is opinions["swept"].more_wrong_words is None


def test_wrong_words_stand_beside_those_of_the_same_speeches(opinions: dict[str, Opinion]) -> None:
    more = opinions["balanced"].more_wrong_words
    assert more is not None

    assert (more.value, more.low, more.high) == (20, 10, 30)
