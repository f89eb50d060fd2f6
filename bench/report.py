"""The file that every measuring command leaves behind, and the check that the machine is free enough to measure."""

from __future__ import annotations

import datetime
import json
import operator
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from services.common.devices import cpu_name

MAX_FOREIGN_SHARE = 0.1
"""Above this share of CPU time taken by others, times say little."""

Figures = dict[str, dict[str, object]]
"""By key: value, unit and, where there is one, goal and whether it is met."""


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def figure(
    value: float, unit: str, goal: str = "", *, is_of_machine: bool = False, **more: object
) -> dict[str, object]:
    """One figure of a report.

    Args:
        value: As it was measured.
        unit: Empty for a plain number.
        goal: Such as ``<= 250``; empty where there is none.
        is_of_machine: The machine has a part in whether the goal is met, so a missed one does not fail the command.
        more: What else belongs to it, such as the settings that it was measured under.
    """
    made: dict[str, object] = {"value": value, "unit": unit, **more}
    if goal:
        sign, _, bound = goal.partition(" ")
        made |= {"goal": goal, "met": _COMPARISONS[sign](value, float(bound))}
    if goal and is_of_machine:
        made["is_of_machine"] = True
    return made


def missing(unit: str, why: str, goal: str = "", **more: object) -> dict[str, object]:
    """A figure that was to be measured and was not; it fails the command on every machine."""
    made: dict[str, object] = {"value": None, "unit": unit, **more, "met": False, "why": why}
    return made | ({"goal": goal} if goal else {})


def failures(figures: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Say of each figure that fails the command why: it is missing, or misses a goal that no machine excuses."""
    return [_failure(key, each) for key, each in figures.items() if _fails(each)]


def _fails(figure: Mapping[str, object]) -> bool:
    return figure["value"] is None or (figure.get("met") is False and not figure.get("is_of_machine"))


def _failure(key: str, figure: Mapping[str, object]) -> str:
    if figure["value"] is None:
        return f"{key} is missing: {figure.get('why', 'nothing was measured')}"
    return f"{key} is {figure['value']:g} {figure['unit']}".rstrip() + f", its goal {figure['goal']}"


def exit_status(figures: Mapping[str, Mapping[str, object]]) -> int:
    """Print on stderr what fails and return 1, or 0 when nothing does."""
    found = failures(figures)
    for each in found:
        print(f"FAILED {each}", file=sys.stderr)
    return 1 if found else 0


def write(
    path: Path,
    name: str,
    command: str,
    machine: str,
    figures: Mapping[str, Mapping[str, object]],
    **more: object,
) -> None:
    """Write the figures of one run as JSON, and under their own names what else belongs to it."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    content = {
        "name": name,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": machine,
        "figures": figures,
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def machine(share: float | None = None) -> str:
    """This machine in words.

    Args:
        share: Of its CPU time that others took; None where nothing was timed, and so nothing was looked at.
    """
    memory = psutil.virtual_memory().total / 2**30
    cores = f"{os.cpu_count()} cores, {memory:.0f} GiB"
    beside = "" if share is None else f", others took {share:.0%} of the CPU"
    return f"{cpu_name()}, {platform.machine()}, {cores}{beside}"


def foreign_share() -> float:
    """Return the share of this machine's CPU time that other processes take, over two seconds."""
    own = psutil.Process()
    before = own.cpu_times()
    busy = psutil.cpu_percent(interval=2.0) / 100
    after = own.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return max(0.0, busy - spent / 2.0 / (os.cpu_count() or 1))


def share_to_measure_beside(*, is_busy_allowed: bool) -> float | None:
    """Print which share of the CPU others take and return it; None, with the reason on stderr, when it is too much."""
    share = foreign_share()
    print(f"other processes take {share:.0%} of the CPU", file=sys.stderr)
    if share > MAX_FOREIGN_SHARE and not is_busy_allowed:
        print(f"more than {MAX_FOREIGN_SHARE:.0%}: nothing is measured; --busy does it all the same", file=sys.stderr)
        return None
    return share


class OthersWatch:
    """The share of CPU time that neither this process nor its living children took, from now until it is asked for."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _tree_seconds()

    def share(self) -> float:
        elapsed = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_busy_seconds() - self._busy - _tree_seconds() + self._own) / elapsed)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def _tree_seconds() -> float:
    process = psutil.Process()
    spent = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in spent)


def print_figures(figures: Mapping[str, Mapping[str, object]]) -> None:
    """Print figures as a Markdown table."""
    print(table(figures))


def table(figures: Mapping[str, Mapping[str, object]]) -> str:
    """Figures as a Markdown table."""
    lines = ["| figure | value | unit | goal | met |", "|---|---:|---|---|---|"]
    for key, each in figures.items():
        value = "missing" if each["value"] is None else each["value"]
        met = {None: "", True: "yes", False: "no"}[each.get("met")]  # type: ignore[index]
        lines.append(f"| {key} | {value} | {each['unit']} | {each.get('goal', '')} | {met} |")
    return "\n".join(lines)
