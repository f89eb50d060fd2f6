"""`python -m bench.soak`: memory and drift over a long speech, and speech whose text arrives slowly."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from triptych import AsyncClient, TtsError

from bench import report
from bench.load.setting import Conditions, Setting, conditions, facts_of
from bench.load.system import Measured, own_system
from bench.local import StartError
from bench.soak.run import LongSpeech, long_text, slow_text
from bench.soak.slow_text import SlowSpeech, blame

REPORT = Path("var/reports/bench-soak.json")
_FLAT_MB_PER_MINUTE = 2.0
_MOST_DRIFT = {"pitch_drift_pct": 6.0, "level_drift_db": 2.0, "pace_drift_pct": 10.0}
"""Between the first and the last minute: a semitone, and what a listener hardly notices of loudness and pace."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    share = report.share_to_measure_beside(is_busy_allowed=options.busy)
    if share is None:
        return 1
    try:
        with own_system(options.model, options.threads) as measured:
            watch = report.OthersWatch()
            made, long = asyncio.run(_measure(measured, options))
            share = watch.share()
    except (StartError, TtsError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    report.write(
        options.report,
        "bench-soak",
        shlex.join(["python", "-m", "bench.soak", *arguments]),
        report.machine(share),
        made,
    )
    report.print_figures(made)
    if options.plots:
        from bench.soak.plots import draw_memory

        print(f"\n{options.report}\n{draw_memory(long.memory, options.report.with_name('bench-soak-memory.png'))}")
    return report.exit_status(made)


async def _measure(measured: Measured, options: argparse.Namespace) -> tuple[report.Figures, LongSpeech]:
    setting = Setting(options.policy, options.steps)
    async with AsyncClient(measured.address) as client:
        model = await client.model()
        await client.synthesize("Good morning.", **setting.options(options.seed))
    known = conditions(setting, model.policies, facts_of(model))
    long = await long_text(measured, options.minutes, setting, options.seed)
    slow = await slow_text(measured, options.sentences, setting, options.seed)
    return figures_of_long(long, options.minutes, known) | figures_of_slow(slow, known), long


def figures_of_long(speech: LongSpeech, minutes: float, known: Conditions) -> report.Figures:
    """Length, memory and drift have goals whatever the machine; only underruns depend on it."""
    where = str(known)
    made = {
        "long_audio_s": report.figure(round(speech.audio_seconds, 1), "s", f">= {60 * minutes:g}", conditions=where),
        "long_unspoken_letters": report.figure(speech.unspoken_letters, "", "<= 0", conditions=where),
        "long_cut_segments": report.figure(speech.cut_segments, "", "<= 0", conditions=where),
        "long_rtf": report.figure(round(speech.real_time_factor, 3), "", conditions=where),
        "long_underruns": report.figure(len(speech.gaps), "", "<= 0", is_of_machine=True, conditions=where),
    }
    return made | _drift(speech, where) | _memory(speech, where)


def _drift(speech: LongSpeech, where: str) -> report.Figures:
    """How far the last minute is from the first, as a distance; the change itself stands beside it."""
    first, last = speech.first, speech.last
    changes = {
        "pitch_drift_pct": (_change_pct(first.pitch_hz, last.pitch_hz), "%"),
        "level_drift_db": (_difference(first.level_dbfs, last.level_dbfs), "dB"),
        "pace_drift_pct": (_change_pct(first.characters_per_second, last.characters_per_second), "%"),
    }
    made = {key: _distance(change, unit, f"<= {_MOST_DRIFT[key]:g}", where) for key, (change, unit) in changes.items()}
    if first.pitch_hz is not None:
        made["pitch_first_hz"] = report.figure(round(first.pitch_hz, 1), "Hz", conditions=where)
    return made


def _distance(change: float | None, unit: str, goal: str, where: str) -> dict[str, object]:
    if change is None:
        return report.missing(unit, "the beginning or the end has no speech to measure it on", goal, conditions=where)
    return report.figure(round(abs(change), 2), unit, goal, change=round(change, 2), conditions=where)


def _memory(speech: LongSpeech, where: str) -> report.Figures:
    made, goal = report.Figures(), f"<= {_FLAT_MB_PER_MINUTE:g}"
    for name, slope in speech.memory.slopes().items():
        key = f"memory_slope_{name}_mb_per_min"
        made[key] = (
            report.missing("MB/min", f"{len(speech.memory.seconds)} samples are too few", goal, conditions=where)
            if slope is None
            else report.figure(round(slope, 3), "MB/min", goal, conditions=where)
        )
    return made or {"memory_slope": report.missing("MB/min", "no process was watched", goal, conditions=where)}


def figures_of_slow(speech: SlowSpeech, known: Conditions) -> report.Figures:
    """A text must be spoken whole, and some of it after a silence that was the text's: else it was not slow."""
    found, where = blame(speech), str(known)
    made = {
        "slow_unspoken_letters": report.figure(speech.unspoken_letters, "", "<= 0", conditions=where),
        "slow_underruns_of_the_system": report.figure(
            len(found.system), "", "<= 0", is_of_machine=True, conditions=where
        ),
        "slow_gap_s_of_the_system": report.figure(
            round(sum(gap.seconds for gap in found.system), 3), "s", conditions=where
        ),
        "slow_silences_for_want_of_text": report.figure(len(found.text), "", ">= 1", conditions=where),
    }
    if not found.answer_seconds:
        return made | {"slow_answer_p50_ms": report.missing("ms", "nothing was spoken", conditions=where)}
    answers = 1000 * np.array(found.answer_seconds)
    return made | {
        "slow_answer_p50_ms": report.figure(round(float(np.median(answers)), 1), "ms", conditions=where),
        "slow_answer_most_ms": report.figure(round(float(answers.max()), 1), "ms", conditions=where),
    }


def _change_pct(first: float | None, last: float | None) -> float | None:
    return 100 * (last / first - 1) if first and last is not None else None


def _difference(first: float | None, last: float | None) -> float | None:
    return last - first if first is not None and last is not None else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker")
    parser.add_argument("--policy", default="", help="streaming policy; the model's default when left out")
    parser.add_argument("--steps", type=int, help="solver steps; the policy's own when left out")
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech in one request, at least")
    parser.add_argument("--sentences", type=int, default=16, help="of the text that arrives slowly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="needs matplotlib")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
