"""The rows and opinions as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.quality.estimates import Estimate
from bench.quality.listening import Opinion
from bench.quality.ratios import Ratio
from bench.quality.scores import Row

_COLUMNS = (
    "policy",
    "speeches",
    "seams",
    "seam ratio p95",
    "energy",
    "spectrum",
    "worst place",
    "mel",
    "ratio of means",
    "vocoder seams",
    "mel L1",
    "mel L1 to best",
    "first audio, ms of CPU",
    "streams of a core",
    "CPU s per s",
)
_OPINION_COLUMNS = (
    "policy",
    "speeches",
    "WER, %",
    "less that of whole",
    "cosine to the prompt",
    "to the whole render",
    "DistillMOS",
)


def page(rows: Sequence[Row], opinions: Mapping[str, Opinion], mode: str, left_out: Sequence[str]) -> str:
    """All that the command prints.

    Args:
        rows: One for each policy.
        opinions: By policy; empty where nobody judged.
        mode: The numeric mode of all stages.
        left_out: What was not asked for, in words.
    """
    said = [f"Computed in {mode}.", *(f"Left out: {part}." for part in left_out)]
    parts = ["\n".join(said) + "\n", markdown(rows), *([opinions_markdown(opinions)] if opinions else [])]
    return "\n".join(parts)


def markdown(rows: Sequence[Row]) -> str:
    return _table(_COLUMNS, [_cells(row) for row in rows])


def opinions_markdown(opinions: Mapping[str, Opinion]) -> str:
    cells = [
        (
            name,
            str(opinion.num_speeches),
            _interval(opinion.wrong_words, 1),
            _interval(opinion.more_wrong_words, 1),
            _interval(opinion.likeness_to_prompt, 2),
            _interval(opinion.likeness_to_whole, 3),
            _interval(opinion.mos, 2),
        )
        for name, opinion in opinions.items()
    ]
    return _table(_OPINION_COLUMNS, cells)


def worst_place(row: Row) -> str:
    """Kind and frame after the border of the place whose figure is the row's."""
    index, num_places = row.seams.worst_place, len(row.energy.by_place)
    if index is None:
        return ""
    kind, frame = divmod(index, num_places)
    return f"{('energy', 'spectrum')[kind]} +{frame}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        str(row.num_speeches),
        str(row.num_seams),
        _interval(row.seams, 2),
        f"{row.energy.value:.2f}",
        f"{row.spectrum.value:.2f}",
        worst_place(row),
        f"{row.mel.value:.2f}",
        f"{row.mean_seams.value:.2f}",
        f"{row.vocoder_seams.value:.2f}",
        f"{row.mel_l1:.3f}",
        f"{row.best_mel_l1:.3f}",
        f"{row.first_audio_ms:.0f}",
        f"{row.streams:.2f}",
        f"{row.real_time:.2f}",
    )


def _interval(found: Ratio | Estimate | None, digits: int) -> str:
    if found is None:
        return ""
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
