"""`python -m bench.quality`: compare streamed speech with speech that is rendered whole, policy by policy.

Prints Markdown tables; writes them with the figures and the pictures to var/reports. Ends with 1 when the default
profile misses a goal or one of its figures is missing, and says which; what `--heard 0` or `--seams 0` leave out is
not missed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from bench import report
from bench.quality import plots, tables
from bench.quality.comparison import Contest, Extent, compare
from bench.quality.figures import LEAST_SEAMS, Asked, figures
from bench.quality.listening import Judges, Opinion, Panel
from bench.quality.material import Material
from bench.quality.numbers import DTYPES, served_dtype
from bench.quality.policies import AXES, profiles, sweep, with_params
from bench.quality.scores import Row, Sound
from bench.quality.seam_process import SeamTask, score_elsewhere
from bench.quality.stages import Stages, load_stages
from services.common.checkpoint import load_config
from services.common.devices import numeric_mode
from services.common.stage.policy import Policy

_REPORTS = Path("var/reports")


def main() -> int:
    arguments = _parser().parse_args()
    share = report.share_to_measure_beside(is_busy_allowed=arguments.busy)
    if share is None:
        return 2

    torch.set_num_threads(1)
    stages = load_stages(arguments.model, arguments.dtype)
    contest = _contest(stages, arguments)
    rows, opinions = _measure(stages, contest, arguments)
    found = _report(rows, opinions, contest.whole, arguments, report.machine(share))
    pictures = plots.draw(rows, opinions, _REPORTS)
    print(f"wrote bench-quality.json, bench-quality.md and {len(pictures)} pictures to {_REPORTS}", file=sys.stderr)
    return report.exit_status(found)


def _report(
    rows: Sequence[Row], opinions: Mapping[str, Opinion], whole: Policy, arguments: argparse.Namespace, machine: str
) -> report.Figures:
    """Print and write what was found, with the numeric mode and what was left out."""
    asked = Asked(judges=arguments.heard > 0, seams=arguments.seams > 0)
    found, mode = figures(rows, opinions, whole, asked), numeric_mode(arguments.dtype)
    text = tables.page(rows, opinions, mode, asked.left_out)
    print(text)
    command = f"python -m bench.quality {shlex.join(sys.argv[1:])}".strip()
    more = {"dtype": mode, "left_out": asked.left_out}
    report.write(_REPORTS / "bench-quality.json", "bench-quality", command, machine, found, **more)
    (_REPORTS / "bench-quality.md").write_text(text, encoding="utf-8")
    return found


def _contest(stages: Stages, arguments: argparse.Namespace) -> Contest:
    params = dict(arguments.param)
    policies = [with_params(policy, params) for policy in stages.policies]
    return Contest(with_params(stages.whole, params), profiles(policies), list(sweep(policies[0], arguments.axes)))


def _measure(stages: Stages, contest: Contest, arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Opinion]]:
    preprocessing = load_config(arguments.model).s2mel.preprocess_params
    sound = Sound(stages.frame_samples, stages.sample_rate_hz, preprocessing)
    in_words = [variant.name for variant in contest.profiles]
    panel = Panel(_judges(), sound.rate_hz, in_words) if arguments.heard else None
    model, voices, default = arguments.model, arguments.voices, contest.profiles[0]
    task = SeamTask(model, voices, arguments.speeches, arguments.seams, default, sound, arguments.dtype)
    with score_elsewhere(task) as seams:
        scores = compare(
            stages,
            Material(stages, model, voices),
            contest,
            Extent(arguments.speeches, arguments.swept, arguments.heard),
            sound,
            listen=panel,
            progress=lambda text: print(text, file=sys.stderr),
        )
        scores[0].extend(seams())
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
    parser.add_argument("--speeches", type=int, default=24, help="sentences that every profile speaks")
    parser.add_argument("--swept", type=int, default=6, help="of these, how many every policy of the sweep speaks")
    parser.add_argument("--heard", type=int, default=21, help="of these, how many judges hear; 0 needs no judges")
    parser.add_argument(
        "--seams", type=int, default=2 * LEAST_SEAMS, help="further seams of the default; 0 judges none"
    )
    parser.add_argument("--axes", nargs="*", choices=list(AXES), default=list(AXES), help="what the sweep changes")
    parser.add_argument("--param", type=_param, action="append", default=[], help="a stage's parameter: steps=4")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=served_dtype(),
        help="numbers of the stages; by default those of `make up` here",
    )
    parser.add_argument("--busy", action="store_true", help="measure although other processes compute")
    return parser


if __name__ == "__main__":
    sys.exit(main())
