"""`python -m bench.quality`: compare streamed speech with speech that is rendered whole, policy by policy.

Prints Markdown tables; writes them with the figures and two pictures to var/reports. Ends with 1 when the default
profile misses a goal.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from bench import report
from bench.quality import plots, tables
from bench.quality.comparison import Extent, compare
from bench.quality.listening import Judges, Opinion, Panel
from bench.quality.material import Material
from bench.quality.policies import AXES, profiles, sweep
from bench.quality.scores import Row, Sound
from bench.quality.stages import load_stages
from services.common.checkpoint import load_config

_REPORTS = Path("var/reports")


def main() -> int:
    arguments = _parser().parse_args()
    share = report.share_to_measure_beside(is_busy_allowed=arguments.busy)
    if share is None:
        return 2

    rows, opinions = _measure(arguments)
    figures = tables.figures(rows, opinions)
    text = tables.markdown(rows) + (f"\n{tables.opinions_markdown(opinions)}" if opinions else "")
    print(text)
    command = f"python -m bench.quality {shlex.join(sys.argv[1:])}".strip()
    report.write(_REPORTS / "bench-quality.json", "bench-quality", command, report.machine(share), figures)
    (_REPORTS / "bench-quality.md").write_text(text, encoding="utf-8")
    pictures = plots.draw(rows, _REPORTS)
    print(f"wrote bench-quality.json, bench-quality.md and {len(pictures)} pictures to {_REPORTS}", file=sys.stderr)
    return 0 if all(figure.get("met", True) for figure in figures.values()) else 1


def _measure(arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Opinion]]:
    torch.set_num_threads(1)
    stages = load_stages(arguments.model)
    preprocessing = load_config(arguments.model).s2mel.preprocess_params
    sound = Sound(stages.frame_samples, stages.sample_rate_hz, preprocessing)
    panel = Panel(_judges(), sound.rate_hz) if arguments.heard else None
    scores = compare(
        stages,
        Material(stages, arguments.model, arguments.voices),
        [*profiles(stages.policies), *sweep(arguments.axes)],
        Extent(arguments.speeches, arguments.heard, arguments.seams),
        sound,
        params=dict(arguments.param),
        listen=panel,
        progress=lambda text: print(text, file=sys.stderr),
    )
    return [score.row() for score in scores], panel.opinions() if panel is not None else {}


def _judges() -> Judges:
    from bench.quality.judges import NetworkJudges  # only here: its libraries are of requirements/bench.txt

    return NetworkJudges()


def _param(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=NUMBER") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="checkpoint directory")
    parser.add_argument("--voices", type=Path, default=Path("models/mini/voices"), help="folder of recordings")
    parser.add_argument("--speeches", type=int, default=24, help="sentences that every policy renders")
    parser.add_argument("--seams", type=int, default=tables.LEAST_SEAMS, help="seams of the default profile")
    parser.add_argument("--heard", type=int, default=12, help="sentences that judges hear; 0 needs no judges")
    parser.add_argument("--axes", nargs="*", choices=list(AXES), default=list(AXES), help="what the sweep changes")
    parser.add_argument("--param", type=_param, action="append", default=[], help="a stage's parameter: steps=4")
    parser.add_argument("--busy", action="store_true", help="measure although other processes compute")
    return parser


if __name__ == "__main__":
    sys.exit(main())
