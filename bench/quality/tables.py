"""The rows as Markdown, and as the figures of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.quality.listening import Opinion
from bench.quality.scores import Row
from bench.quality.seams import Ratio
from bench.report import Figures, figure

MAX_SEAM_RATIO = 1.1
LEAST_SEAMS = 1000

_COLUMNS = (
    "policy",
    "speeches",
    "seams",
    "seam ratio p95",
    "energy",
    "spectrum",
    "mel",
    "ratio of means",
    "vocoder seams",
    "mel L1",
    "first audio, ms of CPU",
    "streams of a core",
    "CPU s per s",
)
_OPINION_COLUMNS = ("policy", "speeches", "WER", "to the prompt", "to the whole render", "DistillMOS")


def markdown(rows: Sequence[Row]) -> str:
    return _table(_COLUMNS, [_cells(row) for row in rows])


def opinions_markdown(opinions: Mapping[str, Opinion]) -> str:
    cells = [
        (
            name,
            str(opinion.num_speeches),
            f"{opinion.word_errors:.1f} %",
            f"{opinion.likeness_to_prompt:.2f}",
            f"{opinion.likeness_to_whole:.3f}",
            f"{opinion.mos:.2f}",
        )
        for name, opinion in opinions.items()
    ]
    return _table(_OPINION_COLUMNS, cells)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        str(row.num_speeches),
        str(row.num_seams),
        _interval(row.seams),
        f"{row.energy.value:.2f}",
        f"{row.spectrum.value:.2f}",
        f"{row.mel.value:.2f}",
        f"{row.mean_seams.value:.2f}",
        f"{row.vocoder_seams.value:.2f}",
        f"{row.mel_l1:.3f}",
        f"{row.first_audio_ms:.0f}",
        f"{row.streams:.2f}",
        f"{row.real_time:.2f}",
    )


def _interval(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figures(rows: Sequence[Row], opinions: Mapping[str, Opinion]) -> Figures:
    """The report's figures; `rows[0]` is the default profile, and the goal is its alone."""
    default, interval = rows[0], {key: _number(getattr(rows[0].seams, key)) for key in ("low", "high")}
    made: Figures = {
        "seam_ratio_p95": _figure(default.seams.value, "", f"<= {MAX_SEAM_RATIO:.2f}", **interval),
        "seams": _figure(default.num_seams, "", f">= {LEAST_SEAMS}"),
        "mel_l1_streamed_vs_whole": _figure(default.mel_l1, "natural log"),
    }
    if opinions:
        made["wer_streamed"] = _figure(opinions[default.name].word_errors, "%")
        made["wer_whole"] = _figure(opinions["whole"].word_errors, "%")
    for name, opinion in opinions.items():
        made[f"{name}.heard"] = {
            "value": {key: _number(value) for key, value in vars(opinion).items()},
            "unit": "mixed",
        }
    for row in rows:
        made[f"policy.{row.name}"] = {"value": _plain(row), "unit": "mixed"}
    return made


def _plain(row: Row) -> dict[str, object]:
    return {key: _numbers(value) for key, value in vars(row).items()}


def _numbers(value: object) -> object:
    if isinstance(value, Ratio):
        return {key: _number(number) for key, number in vars(value).items()}
    return _number(value) if isinstance(value, float) else value


def _figure(value: float, unit: str, goal: str = "", **more: object) -> dict[str, object]:
    return figure(value, unit, goal, **more) | {"value": _number(value)}


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return round(value, 4) if abs(value) < float("inf") else None
