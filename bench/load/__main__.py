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
from bench.load.figures import Values, figures, of_processes
from bench.load.loads import Pace
from bench.load.run import Plan, Run, measure
from bench.load.setting import Setting, compared
from bench.load.system import Measured, own_system
from bench.local import StartError

REPORT = Path("var/reports/bench.json")


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
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
            run = asyncio.run(measure(measured, _plan(options), settings))
            share = watch.share()
            processes = of_processes(measured)
    except (StartError, TtsError) as error:
        return _fail(f"bench: {error}")
    except KeyboardInterrupt:
        return 130
    command = shlex.join(["python", "-m", "bench.load", *arguments])
    return _report(options, run, processes, command, share)


def _report(options: argparse.Namespace, run: Run, processes: Values, command: str, share: float) -> int:
    made = figures(run, processes)
    path: Path = options.report
    report.write(path, "bench", command, report.machine(share), made)
    print(f"`{command}`: {run.model}, {report.machine(share)} meanwhile\n")
    for each in run.results:
        print(f"- {each.setting.label}: {each.conditions}")
    print()
    report.print_figures(made)
    if options.plots:
        from bench.load.plots import draw

        drawn = draw(run, path.parent)
        print("\n" + "\n".join(map(str, [path, *drawn])))
    if not options.gateway and "event_loop_lag_p99_ms" not in processes:
        return _fail("no process says how late its event loop is: event_loop_lag_p99_ms is missing")
    return 0


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
        streams=options.streams,
        rates=options.rates,
        seconds=options.seconds,
        pace=Pace(options.pace),
        seed=options.seed,
    )


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


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
    parser.add_argument("--rates", type=_numbers, default=[0.1, 0.2, 0.4], help="requests per second, open loop")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each number of listeners and each rate")
    parser.add_argument(
        "--pace",
        choices=[pace.value for pace in Pace],
        default=Pace.RECEIVED.value,
        help="when a listener's next utterance is asked for: when the last audio has come, or has been played",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="needs matplotlib")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
