"""Every policy meets every speech; the default profile goes on until it has its seams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bench.quality.comparison import Extent, compare
from bench.quality.listening import WHOLE, Heard, Panel
from bench.quality.material import Speech, Voice
from bench.quality.plots import draw
from bench.quality.policies import Variant
from bench.quality.scores import Score, Sound, blended_frames
from bench.quality.stages import Stages
from bench.quality.tables import figures, markdown
from services.common.arrays import Array
from services.common.checkpoint import PreprocessParams
from services.common.stage.policy import Policy
from tests.unit.quality.walking_engines import HOP, speech_of

DEFAULT = Variant("balanced", Policy(first_window_codes=50, look_ahead_codes=5, codes_per_chunk=5))
SHORT = Variant("first 20", Policy(first_window_codes=20, look_ahead_codes=5), {}, "first_window_codes", 20.0)
SPEAKER = np.array([1.0, 0.0])


class HopSound(Sound):
    """Frames of the walking engines: as many as the mel has."""

    def log_mel(self, samples: Array) -> Array:
        return samples[::HOP, None]


SOUND = HopSound(HOP, 400, PreprocessParams())


class Judges:
    """Hear all that was said, take everybody for the same speaker, and note how often they were asked."""

    def __init__(self) -> None:
        self.num_heard = 0

    def hear(self, samples: Array, rate_hz: int, said: str) -> Heard:
        self.num_heard += 1
        return Heard(said, said, SPEAKER, mos=3.0)

    def prompt(self, speech: Speech) -> Array:
        return SPEAKER / 2

    def word_errors(self, said: list[str], heard: list[str]) -> float:
        return 0.25 * len(said)


@pytest.fixture
def speeches(voice: Voice) -> Iterator[Speech]:
    return (speech_of(voice, 120, seed) for seed in count())


def scores_of(
    stages: Stages, speeches: Iterator[Speech], extent: Extent, panel: Panel | None = None, **params: float
) -> list[Score]:
    variants = [DEFAULT, SHORT]
    return compare(stages, speeches, variants, extent, SOUND, params=params, listen=panel, progress=lambda _: None)


def test_all_policies_render_the_same_speeches(stages: Stages, speeches: Iterator[Speech]) -> None:
    scores = scores_of(stages, speeches, Extent(num_speeches=3, num_heard=0, num_seams=0))

    assert [(score.num_speeches, score.num_seams) for score in scores] == [(3, 3 * 2), (3, 3 * 5)]


def test_the_default_profile_goes_on_alone_until_it_has_its_seams(stages: Stages, speeches: Iterator[Speech]) -> None:
    scores = scores_of(stages, speeches, Extent(num_speeches=2, num_heard=0, num_seams=9))

    assert [(score.num_speeches, score.num_seams) for score in scores] == [(5, 10), (2, 10)]


def test_a_stream_that_equals_the_whole_render_scores_one_and_zero(stages: Stages, speeches: Iterator[Speech]) -> None:
    """The walking engines do not care about windows."""
    rows = [score.row() for score in scores_of(stages, speeches, Extent(3, 0, 0))]

    for row in rows:
        assert (row.seams.value, row.mel.value, row.mean_seams.value, row.mel_l1) == (1, 1, 1, 0)


def test_a_parameter_of_the_run_holds_for_streams_and_whole_renders(stages: Stages, speeches: Iterator[Speech]) -> None:
    rows = [score.row() for score in scores_of(stages, speeches, Extent(3, 0, 0), gain=3.0)]

    assert [row.mel_l1 for row in rows] == [0, 0]


def test_a_crossfade_blends_no_more_than_the_look_ahead() -> None:
    policy = Policy(crossfade_frames=8, look_ahead_codes=3)

    assert blended_frames(policy) == 5
    assert blended_frames(replace(policy, look_ahead_codes=10)) == 8
    assert blended_frames(replace(policy, look_ahead_codes=0)) == 0


def test_first_audio_counts_codes_and_prefill(stages: Stages, speeches: Iterator[Speech]) -> None:
    """Half a second a code and one for the prefill, and next to nothing for engines that do nothing."""
    rows = [score.row() for score in scores_of(stages, speeches, Extent(3, 0, 0))]

    assert [row.first_audio_ms for row in rows] == pytest.approx([1000 * (1 + 55 / 2), 1000 * (1 + 25 / 2)], rel=0.05)


def test_judges_hear_whole_renders_and_profiles_of_the_first_speeches(
    stages: Stages, speeches: Iterator[Speech]
) -> None:
    judges = Judges()
    panel = Panel(judges, SOUND.rate_hz)
    scores_of(stages, speeches, Extent(num_speeches=3, num_heard=2, num_seams=0), panel)
    opinions = panel.opinions()

    assert judges.num_heard == 2 * 2
    assert list(opinions) == [WHOLE, "balanced"]
    assert (opinions["balanced"].likeness_to_prompt, opinions["balanced"].likeness_to_whole) == (0.5, 1)
    assert (opinions["balanced"].word_errors, opinions["balanced"].num_speeches) == (50, 2)


def test_the_report_names_the_four_figures_and_every_policy(stages: Stages, speeches: Iterator[Speech]) -> None:
    panel = Panel(Judges(), SOUND.rate_hz)
    rows = [score.row() for score in scores_of(stages, speeches, Extent(3, 1, 0), panel)]
    found = figures(rows, panel.opinions())

    assert found["seam_ratio_p95"]["value"] == 1
    assert (found["seam_ratio_p95"]["goal"], found["seam_ratio_p95"]["met"]) == ("<= 1.10", True)
    assert found["seams"]["met"] is False
    assert found["wer_streamed"]["value"] == found["wer_whole"]["value"] == 25
    assert found["mel_l1_streamed_vs_whole"]["value"] == 0
    assert {"policy.balanced", "policy.first 20"} <= found.keys()
    json.dumps(found, allow_nan=False)
    assert [line.split("|")[1].strip() for line in markdown(rows).splitlines()] == [
        "policy",
        "---",
        "balanced",
        "first 20",
    ]


def test_a_policy_without_seams_has_no_ratio_and_misses_the_goal(stages: Stages, voice: Voice) -> None:
    speeches = (speech_of(voice, 40, seed) for seed in count())
    rows = [score.row() for score in scores_of(stages, speeches, Extent(2, 0, 0))]
    found = figures(rows, {})

    assert (found["seam_ratio_p95"]["value"], found["seam_ratio_p95"]["met"]) == (None, False)
    json.dumps(found, allow_nan=False)


def test_the_curves_are_drawn(stages: Stages, speeches: Iterator[Speech], tmp_path: Path) -> None:
    rows = [score.row() for score in scores_of(stages, speeches, Extent(2, 0, 0))]

    assert all(path.stat().st_size > 1000 for path in [*draw(rows, tmp_path), *draw(rows[:1], tmp_path)])
