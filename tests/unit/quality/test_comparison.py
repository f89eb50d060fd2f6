"""Every profile meets every speech, the sweep a few; one policy alone can go on until it has its seams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count

import pytest

from bench.quality.comparison import WHOLE, Contest, Extent, Listener, add_seams, compare
from bench.quality.material import Speech, Voice
from bench.quality.policies import Variant
from bench.quality.rendering import Rendered
from bench.quality.scores import Score
from bench.quality.stages import Stages
from services.common.stage.policy import Policy
from tests.unit.quality.walking_engines import BEST, WalkingEngine, speech_of
from tests.unit.quality.walking_sound import SOUND

DEFAULT = Variant("balanced", Policy(first_window_codes=50, look_ahead_codes=5, codes_per_chunk=5))
SHORT = Variant("first 20", replace(DEFAULT.policy, first_window_codes=20), "first_window_codes", 20.0)
CONTEST = Contest(BEST, [DEFAULT], [SHORT])


@pytest.fixture
def speeches(voice: Voice) -> Iterator[Speech]:
    return (speech_of(voice, 120, seed) for seed in count())


def scores_of(
    stages: Stages, speeches: Iterator[Speech], extent: Extent, listen: Listener | None = None
) -> list[Score]:
    return compare(stages, speeches, CONTEST, extent, SOUND, listen=listen, progress=lambda _: None)


def extent(num_speeches: int, num_swept: int = 0, num_heard: int = 0) -> Extent:
    return Extent(num_speeches, num_swept, num_heard)


def test_profiles_render_all_speeches_and_the_sweep_the_first(stages: Stages, speeches: Iterator[Speech]) -> None:
    scores = scores_of(stages, speeches, extent(3, num_swept=2))

    assert [(score.num_speeches, score.num_seams) for score in scores] == [(3, 3 * 2), (2, 2 * 5)]


def test_a_policy_alone_goes_on_until_it_has_its_seams(stages: Stages, speeches: Iterator[Speech]) -> None:
    score = Score(DEFAULT, SOUND)
    add_seams(stages, speeches, score, 9, progress=lambda _: None)

    assert (score.num_speeches, score.num_seams) == (5, 10)


def test_seams_that_were_scored_elsewhere_count_with_ours(stages: Stages, speeches: Iterator[Speech]) -> None:
    """All but their times, which are those of another process."""
    ours, others = scores_of(stages, speeches, extent(2))[0], Score(DEFAULT, SOUND)
    add_seams(stages, speeches, others, 6, progress=lambda _: None)
    others._first_audio = [100.0] * 3
    ours.extend(others)
    row = ours.row()

    assert (row.num_speeches, row.num_seams, row.seams.num_seams, row.mel.num_seams) == (5, 10, 10, 10)
    assert row.vocoder_seams.num_seams == 10
    assert row.first_audio_ms == pytest.approx(1000 * (1 + 55 / 2), rel=0.05)


def test_a_stream_that_equals_its_whole_render_scores_one_and_zero(stages: Stages, speeches: Iterator[Speech]) -> None:
    """The walking engines do not care about windows."""
    for row in [score.row() for score in scores_of(stages, speeches, extent(3, num_swept=3))]:
        assert (row.seams.value, row.mel.value, row.mean_seams.value, row.mel_l1) == (1, 1, 1, 0)


def test_the_best_whole_render_is_a_measure_of_its_own(stages: Stages, speeches: Iterator[Speech]) -> None:
    """It is twice as loud: codes from 1 to 120 are 60.5 away in the mean."""
    row = scores_of(stages, speeches, extent(3))[0].row()

    assert (row.mel_l1, row.best_mel_l1) == (0, 60.5)


def test_policies_with_the_same_prompt_and_solver_share_their_whole_render(
    stages: Stages, speeches: Iterator[Speech]
) -> None:
    scores_of(stages, speeches, extent(1, num_swept=1))

    assert isinstance(stages.s2mel, WalkingEngine)
    assert [session.policy.is_whole for session in stages.s2mel.sessions] == [True, False, True, False]


def test_seams_need_no_best_whole_render(stages: Stages, speeches: Iterator[Speech]) -> None:
    add_seams(stages, speeches, Score(DEFAULT, SOUND), 3, progress=lambda _: None)

    assert isinstance(stages.s2mel, WalkingEngine)
    assert {session.params["gain"] for session in stages.s2mel.sessions} == {1}


def test_first_audio_counts_codes_and_prefill(stages: Stages, speeches: Iterator[Speech]) -> None:
    """Half a second a code and one for the prefill, and next to nothing for engines that do nothing."""
    rows = [score.row() for score in scores_of(stages, speeches, extent(3, num_swept=3))]

    assert [row.first_audio_ms for row in rows] == pytest.approx([1000 * (1 + 55 / 2), 1000 * (1 + 25 / 2)], rel=0.05)


def test_the_listener_is_told_of_the_first_speeches_and_all_that_was_made_of_them(
    stages: Stages, speeches: Iterator[Speech]
) -> None:
    told: list[tuple[int, list[str]]] = []

    def listen(speech: Speech, renders: Mapping[str, Rendered]) -> None:
        told.append((speech.seed, list(renders)))

    scores_of(stages, speeches, extent(3, num_swept=1, num_heard=2), listen)

    assert told == [(0, [WHOLE, "balanced", "first 20"]), (1, [WHOLE, "balanced"])]
