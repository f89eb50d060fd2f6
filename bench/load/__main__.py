"""`python -m bench.load`: first audio, playback, throughput and memory of a system under several loads."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from triptych import TtsError

from bench import report
from bench.load import underruns
from bench.load.figures import OF_PROCESSES, figures, of_processes, required
from bench.load.loads import Pace
from bench.load.run import Plan, Run, measure
from bench.load.setting import Setting, compared
from bench.load.system import Measured, own_system
from bench.local import StartError

REPORT = Path("var/reports/bench.json")
_WORST = 10


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    try:
        settings = compared(Setting(options.policy, options.steps), options.compare)
    except ValueError as error:
        return _fail(str(error))
    share = report.share_to_measure_beside(is_busy_allowed=options.busy)
    if share is None:
        return 1
    try:
        with _system(options) as measured:
            watch = report.OthersWatch()
            run = asyncio.run(measure(measured, plan, settings))
            share = watch.share()
            processes = of_processes(measured)
    except (StartError, TtsError) as error:
        return _fail(f"bench: {error}")
    except KeyboardInterrupt:
        return 130
    command = shlex.join(["python", "-m", "bench.load", *arguments])
    made = figures(run, processes, required(plan), () if options.gateway else OF_PROCESSES)
    return _report(options, run, made, command, _machine(options, share))


def _machine(options: argparse.Namespace, share: float) -> str:
    # Of a system that runs already it is not known which processes are its own.
    beside = f", the system at {options.gateway} among them if it is here" if options.gateway else ""
    return report.machine(share) + beside


def _report(options: argparse.Namespace, run: Run, made: report.Figures, command: str, machine: str) -> int:
    path: Path = options.report
    late = underruns.of_run(run)
    report.write(path, "bench", command, machine, made, underruns=underruns.as_json(late))
    page = _page(run, made, late, f"`{command}`: {run.model}, {machine}")
    path.with_suffix(".md").write_text(page + "\n", encoding="utf-8")
    print(page)
    written = [path, path.with_suffix(".md")]
    if options.plots:
        from bench.load.plots import draw

        written += draw(run, path.parent)
    print("\n" + "\n".join(map(str, written)))
    if options.gateway:
        print(f"not measured of a system that ran already: {', '.join(OF_PROCESSES)}", file=sys.stderr)
    return report.exit_status(made)


def _page(run: Run, made: report.Figures, late: Sequence[underruns.Underrun], head: str) -> str:
    settings = "\n".join(f"- {each.setting.label}: {each.conditions}" for each in run.results)
    shown = underruns.worst(late, _WORST)
    tail = f"{len(late)} underruns" + (f", the worst {len(shown)}:\n\n{underruns.table(shown)}" if shown else "")
    return "\n\n".join((head, settings, report.table(made), tail))


def _system(options: argparse.Namespace) -> AbstractContextManager[Measured]:
    if options.gateway:
        return nullcontext(Measured(options.gateway))
    return own_system(options.model, options.threads)


def _plan(options: argparse.Namespace) -> Plan:
    # A long text says much about speed in one call.
    lengths = {length: 1 if length >= 1000 else 3 for length in options.lengths}
    return Plan(
        calls=options.calls,
        lengths=lengths,
        streams=sorted(options.streams),
        paces=options.paces,
        stream_seconds=options.seconds,
        climb_seconds=60 * options.stream_minutes,
        rates=options.rates,
        rate_seconds=options.rate_seconds,
        seed=options.seed,
    )


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def _paces(text: str) -> list[Pace]:
    return [Pace(part) for part in text.split(",") if part]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument(
        "--gateway", default="", help="host:port of a system that runs already: nothing is read of its processes"
    )
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="checkpoint of a system to start")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each of its workers")
    parser.add_argument("--policy", default="", help="streaming policy; the model's default when left out")
    parser.add_argument("--steps", type=int, help="solver steps; the policy's own when left out")
    parser.add_argument("--compare", default="", help="policy=A,B, steps=A,B or chunk_ms=A,B: measured in turn")
    parser.add_argument("--calls", type=int, default=16, help="calls one after the other")
    parser.add_argument("--lengths", type=_integers, default=[10, 100, 1000], help="texts of so many characters")
    parser.add_argument("--streams", type=_integers, default=[1, 2, 3, 4], help="listeners at once")
    parser.add_argument(
        "--pace",
        dest="paces",
        type=_paces,
        default=[Pace.HEARD, Pace.RECEIVED],
        help="when a listener's next utterance is asked for: heard, as soon as the last was played; received, as soon "
        "as it has come, which saturates the system; or both with a comma, which is the default",
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of each number of listeners")
    parser.add_argument(
        "--stream-minutes",
        type=float,
        default=9.0,
        help="of all numbers of listeners of one pace and setting; numbers that would take longer are left out",
    )
    parser.add_argument("--rates", type=_numbers, default=[0.1, 0.2, 0.4], help="requests per second, open loop")
    parser.add_argument("--rate-seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="needs matplotlib")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
