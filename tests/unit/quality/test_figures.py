"""The report: every key is there or said to be missing, and the command's end says so too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from bench import report
from bench.quality import __main__ as command
from bench.quality.comparison import WHOLE, Contest, Extent, compare
from bench.quality.estimates import Estimate
from bench.quality.figures import Asked, figures
from bench.quality.listening import Opinion
from bench.quality.material import Speech, Voice
from bench.quality.plots import draw
from bench.quality.policies import profiles, sweep
from bench.quality.scores import Row
from bench.quality.stages import Stages
from bench.quality.tables import markdown, opinions_markdown, worst_place
from services.common.stage.policy import Policy
from tests.unit.quality.walking_engines import BEST, speech_of
from tests.unit.quality.walking_sound import SOUND

KEYS = {
    "seam_ratio_p95",
    "seams",
    "mel_l1_streamed_vs_whole",
    "mel_l1_streamed_vs_best_whole",
    "wer_streamed",
    "wer_whole",
    "similarity_streamed",
    "similarity_whole",
    "mos_streamed",
    "mos_whole",
}
DEFAULT = Policy("balanced", first_window_codes=50, look_ahead_codes=5, params={"steps": 4.0}, prompt_seconds=0.8)


def opinion(value: float, wrong: float | None) -> Opinion:
    words = Estimate(wrong, wrong - 1, wrong + 1) if wrong is not None else None
    said = Estimate(value, value, value)
    return Opinion(21, words, words, said, said, said)


@pytest.fixture
def speeches(voice: Voice) -> Iterator[Speech]:
    return (speech_of(voice, 120, seed) for seed in count())


def rows_of(stages: Stages, speeches: Iterator[Speech], axes: Sequence[str] = ()) -> list[Row]:
    contest = Contest(BEST, profiles([DEFAULT]), list(sweep(DEFAULT, axes)))
    scores = compare(stages, speeches, contest, Extent(2, 2, 0), SOUND, progress=lambda _: None)
    return [score.row() for score in scores]


OPINIONS = {WHOLE: opinion(3, 40), "balanced": opinion(2, 42)}


def test_every_key_is_there_with_its_policy_prompt_and_solver(stages: Stages, speeches: Iterator[Speech]) -> None:
    found = figures(rows_of(stages, speeches), OPINIONS, BEST)

    assert found.keys() >= KEYS
    assert (found["wer_streamed"]["value"], found["wer_whole"]["value"]) == (42, 40)
    assert (found["mos_streamed"]["value"], found["mos_whole"]["value"]) == (2, 3)
    assert found["wer_streamed"]["prompt_seconds"] == found["seam_ratio_p95"]["prompt_seconds"] == 0.8
    assert found["wer_whole"]["prompt_seconds"] == 1.5
    assert found["wer_streamed"]["params"] == {"steps": 4.0}
    json.dumps(found, allow_nan=False)


def test_both_distances_say_what_they_stand_beside(stages: Stages, speeches: Iterator[Speech]) -> None:
    found = figures(rows_of(stages, speeches), OPINIONS, BEST)
    own, best = found["mel_l1_streamed_vs_whole"], found["mel_l1_streamed_vs_best_whole"]

    assert (own["value"], own["beside"]) == (0, "a whole render with the same prompt and solver")
    assert (best["value"], best["beside"]) == (
        60.5,
        {"policy": "whole", "prompt_seconds": 1.5, "params": {"gain": 2.0}},
    )


def test_the_seam_ratio_has_a_goal_and_a_figure_for_each_place(stages: Stages, speeches: Iterator[Speech]) -> None:
    found = figures(rows_of(stages, speeches), OPINIONS, BEST)

    assert (found["seam_ratio_p95"]["goal"], found["seam_ratio_p95"]["met"]) == ("<= 1.10", True)
    assert found["seam_ratio_p95"]["by_place"] == [1, 1]
    assert (found["seams"]["goal"], found["seams"]["met"]) == (">= 1000", False)


def test_without_judges_their_figures_are_missing_and_the_command_fails_by_name(
    stages: Stages, speeches: Iterator[Speech], capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(rows_of(stages, speeches), {}, BEST)

    assert found.keys() >= KEYS
    assert report.exit_status(found) == 1
    said = capsys.readouterr().err
    for key in ("wer_streamed", "wer_whole", "similarity_streamed", "mos_streamed"):
        assert f"{key} is missing" in said
    json.dumps(found, allow_nan=False)


def test_judges_that_a_flag_switched_off_are_not_missed(stages: Stages, speeches: Iterator[Speech]) -> None:
    asked = Asked(judges=False)
    found = figures(rows_of(stages, speeches), {}, BEST, asked)

    assert [failure for failure in report.failures(found) if "missing" in failure] == []
    assert not found.keys() & {"wer_streamed", "wer_whole", "mos_streamed", "similarity_streamed_to_whole"}
    assert "seams is 4" in "".join(report.failures(found))
    assert ["--heard 0" in part for part in asked.left_out] == [True]


def test_goals_of_seams_that_a_flag_switched_off_are_not_judged(stages: Stages, speeches: Iterator[Speech]) -> None:
    asked = Asked(seams=False)
    found = figures(rows_of(stages, speeches), OPINIONS, BEST, asked)

    assert report.exit_status(found) == 0
    assert found["seam_ratio_p95"]["value"] == 1
    assert not {"goal", "met"} & {*found["seam_ratio_p95"], *found["seams"]}
    assert ["--seams 0" in part for part in asked.left_out] == [True]


@pytest.mark.parametrize(
    ("flags", "status", "left_out"), [(["--heard", "0", "--seams", "0"], 0, 2), ([], 1, 0)], ids=["off", "default"]
)
def test_the_page_and_the_report_say_the_numbers_and_what_was_left_out(
    flags: list[str],
    status: int,
    left_out: int,
    stages: Stages,
    speeches: Iterator[Speech],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(command, "_REPORTS", tmp_path)
    options = command._parser().parse_args([*flags, "--dtype", "mixed"])
    found = command._report(rows_of(stages, speeches), {}, BEST, options, "a machine")

    assert report.exit_status(found) == status
    page = (tmp_path / "bench-quality.md").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "bench-quality.json").read_text(encoding="utf-8"))
    assert "Computed in mixed." in page
    assert (page.count("Left out: "), len(written["left_out"]), written["dtype"]) == (left_out, left_out, "mixed")


def test_a_policy_without_seams_has_no_ratio_and_the_command_fails_by_name(
    stages: Stages, voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(stages, (speech_of(voice, 40, seed) for seed in count()))
    found = figures(rows, OPINIONS, BEST)

    assert (found["seam_ratio_p95"]["value"], found["seam_ratio_p95"]["goal"]) == (None, "<= 1.10")
    assert report.exit_status(found) == 1
    assert "seam_ratio_p95 is missing" in capsys.readouterr().err
    json.dumps(found, allow_nan=False)


def test_the_tables_have_a_row_for_each_policy(stages: Stages, speeches: Iterator[Speech]) -> None:
    rows = rows_of(stages, speeches, ["crossfade_frames"])
    names = [row.name for row in rows]

    assert names[:2] == ["balanced", "centre"]
    assert [line.split("|")[1].strip() for line in markdown(rows).splitlines()][2:] == names
    assert [line.split("|")[1].strip() for line in opinions_markdown(OPINIONS).splitlines()][2:] == list(OPINIONS)


def test_the_worst_place_is_named_by_kind_and_frame(stages: Stages, speeches: Iterator[Speech]) -> None:
    assert worst_place(rows_of(stages, speeches)[0]) == "energy +0"


def test_the_curves_are_drawn_with_and_without_judges(
    stages: Stages, speeches: Iterator[Speech], tmp_path: Path
) -> None:
    rows = rows_of(stages, speeches, ["crossfade_frames"])
    heard = {row.name: opinion(2, None) for row in rows}
    pictures = [*draw(rows, heard, tmp_path), *draw(rows[:1], {}, tmp_path)]

    assert len(set(pictures)) == 5
    assert all(path.stat().st_size > 1000 for path in pictures)
