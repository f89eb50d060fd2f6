"""The tables, as Markdown and as figures of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench import report
from bench.choices.contexts import Difference
from bench.choices.flows import GUIDED, Distance, guided_steps

Cells = Mapping[tuple[str, str], float]
"""By row and column."""


def cells(found: Sequence[Distance]) -> dict[tuple[str, str], float]:
    """The mean over speeches, rows and columns in the order in which they came."""
    keys = dict.fromkeys((each.row, each.column) for each in found)
    return {key: float(np.mean([each.mel_l1 for each in found if (each.row, each.column) == key])) for key in keys}


def solver_table(values: Cells) -> str:
    return _grid("steps", values, lambda _row, _column, value: f"{value:.3f}")


def guidance_table(values: Cells) -> str:
    """With the steps that still compute the guidance in brackets."""
    by_column = {f"{solver.num_steps}": solver for solver in GUIDED}

    def cell(row: str, column: str, value: float) -> str:
        solver = replace(by_column[column.partition(" ")[0]], guidance_interval=int(row))
        return f"{value:.4f} ({guided_steps(solver)})"

    return _grid("`guidance_interval`", values, cell)


def context_table(found: Sequence[Difference]) -> str:
    lines = ["| before | behind | largest | 99.9th percentile | signal to error, dB |", "|---:|---:|---:|---:|---:|"]
    for each in found:
        lines.append(
            f"| {each.before} | {each.behind} | {each.largest} | {each.most_of_999:.0f} "
            f"| {each.signal_to_error_db:.1f} |"
        )
    return "\n".join(lines)


def figures(solvers: Cells, guidance: Cells, contexts: Sequence[Difference]) -> report.Figures:
    made = {
        f"solver: {row}, {column} steps": report.figure(round(value, 4), "mel L1")
        for (row, column), value in solvers.items()
    }
    made |= {
        f"guidance_interval {row}, {column}": report.figure(round(value, 5), "mel L1")
        for (row, column), value in guidance.items()
    }
    for each in contexts:
        key = f"vocoder: {each.before} before, {each.behind} behind"
        made[key] = report.figure(
            each.largest,
            "int16 steps",
            p999=round(each.most_of_999, 1),
            # JSON knows no infinity; that nothing differs is in the value.
            signal_to_error_db=round(each.signal_to_error_db, 1) if each.largest else None,
        )
    return made


def _grid(corner: str, values: Cells, cell: Callable[[str, str, float], str]) -> str:
    rows = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        shown = [cell(row, column, values[row, column]) for column in columns]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join(lines)
