"""`python -m bench.parity PACK`: reproduce every stored tensor of a golden pack, or exit 1.

A stage may have several producers, which together give its tensors; a tensor without a producer is
a miss. The text cases of the pack, which are strings and ids, are compared too.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from bench import report
from bench.parity.pack import Array, Expectation, Pack, Producer
from bench.parity.report import Comparison, compare, figures, misses, table
from bench.parity.text_side import TextCheck, check_text
from services.common.devices import cpu_name

_SIDES = ("gpt_side", "s2mel_side", "text_side", "utterance_side")
_REPORT = Path("var/reports/parity.json")


def producers() -> dict[str, list[Producer]]:
    """All producers by stage, of every side."""
    found: dict[str, list[Producer]] = {}
    for side in _SIDES:
        stages: dict[str, Producer] = import_module(f"bench.parity.{side}").STAGES
        for stage, producer in stages.items():
            found.setdefault(stage, []).append(producer)
    return found


def compare_stage(pack: Pack, stage: str, stage_producers: Sequence[Producer]) -> list[Comparison]:
    """Produce one stage and hold every expected tensor against its reference."""
    produced: dict[str, Array] = {}
    for producer in stage_producers:
        produced.update(producer(pack))
    return [
        compare(expectation, pack.tensor(stage, expectation.name), produced.get(expectation.name))
        for expectation in pack.expectations(stage)
    ]


def reproduce(pack: Pack, stages: Sequence[str]) -> dict[str, list[Comparison]]:
    """Compare the tensors of these stages of a pack and, with the stage `text`, its text cases."""
    known = producers()
    by_stage = {stage: compare_stage(pack, stage, known.get(stage, [])) for stage in stages}
    if "text" in stages:
        by_stage["text cases"] = [text_comparison(check) for check in check_text(pack)]
    return by_stage


def text_comparison(check: TextCheck) -> Comparison:
    """A text case in the form of a tensor that must be equal."""
    expectation = Expectation("text", check.name, (), tol_abs=0.0, tol_rel=0.0, exact=True)
    return Comparison(expectation, 0.0, 0.0, "" if check.is_equal else check.note)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.parity", description=__doc__)
    parser.add_argument("pack", type=Path, help="directory with a manifest.json")
    parser.add_argument("--stage", action="append", help="only this stage; may be repeated")
    parser.add_argument("--report", type=Path, default=_REPORT)
    options = parser.parse_args(arguments)
    pack = Pack(options.pack)
    stages = [stage for stage in pack.stages if not options.stage or stage in options.stage]
    by_stage = reproduce(pack, stages)
    missed = [line for comparisons in by_stage.values() for line in misses(comparisons)]
    print(table(by_stage))
    for line in missed:
        print(f"MISS {line}")
    total = sum(len(comparisons) for comparisons in by_stage.values())
    print(f"{pack.name}: {total - len(missed)} of {total} tensors reproduced")
    command = shlex.join(["python", "-m", "bench.parity", *arguments])
    machine = f"{cpu_name()}, {platform.machine()}, torch {torch.__version__}"
    report.write(options.report, "parity", command, machine, figures(by_stage))
    return 1 if missed or not total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
