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
from bench.load.setting import Conditions, Setting, conditions
from bench.load.system import Measured, own_system
from bench.local import StartError
from bench.soak.run import LongSpeech, long_text, slow_text
from bench.soak.slow_text import SlowSpeech, blame

REPORT = Path("var/reports/bench-soak.json")
_FLAT_MB_PER_MINUTE = 2.0


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
    except (StartError, TtsError) as error:
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
    is_flat = all(figure.get("met", True) for figure in made.values())
    return 0 if is_flat else 1


async def _measure(measured: Measured, options: argparse.Namespace) -> tuple[report.Figures, LongSpeech]:
    setting = Setting(options.policy, options.steps)
    async with AsyncClient(measured.address) as client:
        policies = (await client.model()).policies
        await client.synthesize("Good morning.", **setting.options(options.seed))
    known = conditions(setting, policies, measured.policy_facts())
    long = await long_text(measured, options.minutes, setting, options.seed)
    slow = await slow_text(measured, options.sentences, setting, options.seed)
    return figures_of_long(long, known) | figures_of_slow(slow, known), long


def figures_of_long(speech: LongSpeech, known: Conditions) -> report.Figures:
    """Memory must be flat whatever the machine, so its slope has a goal; underruns depend on the machine."""
    first, last, where = speech.first, speech.last, str(known)
    made = {
        "long_audio_s": report.figure(round(speech.audio_seconds, 1), "s", conditions=where),
        "long_rtf": report.figure(round(speech.real_time_factor, 3), "", conditions=where),
        "long_underruns": report.figure(len(speech.gaps), "", conditions=where),
        "pitch_first_hz": report.figure(round(first.pitch_hz, 1), "Hz", conditions=where),
        "pitch_drift_pct": report.figure(_change_pct(first.pitch_hz, last.pitch_hz), "%", conditions=where),
        "level_drift_db": report.figure(round(last.level_dbfs - first.level_dbfs, 2), "dB", conditions=where),
        "pace_drift_pct": report.figure(
            _change_pct(first.characters_per_second, last.characters_per_second), "%", conditions=where
        ),
    }
    for name, slope in speech.memory.slopes().items():
        key = f"memory_slope_{name}_mb_per_min"
        made[key] = report.figure(round(slope, 3), "MB/min", f"<= {_FLAT_MB_PER_MINUTE:g}", conditions=where)
    return made


def figures_of_slow(speech: SlowSpeech, known: Conditions) -> report.Figures:
    found, where = blame(speech), str(known)
    answers = found.answer_seconds
    return {
        "slow_underruns_of_the_system": report.figure(len(found.system), "", conditions=where),
        "slow_gap_s_of_the_system": report.figure(
            round(sum(gap.seconds for gap in found.system), 3), "s", conditions=where
        ),
        "slow_silences_for_want_of_text": report.figure(len(found.text), "", conditions=where),
        "slow_answer_p50_ms": report.figure(round(1000 * float(np.median(answers)), 1), "ms", conditions=where),
        "slow_answer_most_ms": report.figure(round(1000 * max(answers), 1), "ms", conditions=where),
    }


def _change_pct(first: float, last: float) -> float:
    return round(100 * (last / first - 1), 2) if first else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker")
    parser.add_argument("--policy", default="", help="streaming policy; the model's default when left out")
    parser.add_argument("--steps", type=int, help="solver steps; the policy's own when left out")
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech in one request, about")
    parser.add_argument("--sentences", type=int, default=16, help="of the text that arrives slowly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="needs matplotlib")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
