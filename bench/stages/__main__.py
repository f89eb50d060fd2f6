"""`python -m bench.stages`: CPU seconds of five spoken seconds at full size, ours against the published way.

One thread, random weights, both sides in turn in one process. The published way runs in plain fp32 eager PyTorch.
How well the fast way agrees with float32 is measured on the embedded checkpoint.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import report
from bench.stages.agreement import Agreement, agreement
from bench.stages.measures import COMPAT, OURS, Extent, Row, measure
from bench.stages.workload import FULL, TOY, Modes, Sizes, Workload

_REPORT = Path("var/reports/bench-fullsize.json")
_PUBLISHED_SECONDS = (233, 253)
"""CPU seconds that the published implementation took for the same 250 codes on two threads of another machine."""


def table(rows: Sequence[Row]) -> str:
    lines = ["| stage | way | CPU s | of which | saved s |", "|---|---|---|---|---|"]
    for row in rows:
        parts = ", ".join(f"{part} {row.spent.of(part):.2f}" for part in row.spent.seconds)
        mark = f" ({row.role})" if row.role else ""
        saved = "" if row.role == COMPAT else f"{row.saved_seconds:.2f}"
        lines.append(f"| {row.stage} | {row.label}{mark} | {row.spent.total:.2f} | {parts} | {saved} |")
    return "\n".join(lines)


def total(rows: Sequence[Row], role: str) -> float:
    return sum(row.spent.total for row in rows if row.role == role)


def figures(rows: Sequence[Row], found: Agreement | None) -> report.Figures:
    """Goals that the machine does not decide are those of agreement; a ratio depends on its kernels."""
    ours, compat = total(rows, OURS), total(rows, COMPAT)
    made: report.Figures = {
        "cpu_s_ours": report.figure(round(ours, 2), "s"),
        "cpu_s_compat": report.figure(round(compat, 2), "s"),
        "ratio": report.figure(round(ours / compat, 3), "", "<= 0.45"),
    }
    if found is not None:
        made["argmax_agreement_pct"] = report.figure(round(found.argmax_pct, 3), "%", ">= 99.5", codes=found.num_codes)
        made["mel_l1"] = report.figure(round(found.mel_l1, 5), "", "<= 0.02")
    for row in rows:
        made[f"{row.stage}: {row.label}"] = report.figure(
            round(row.spent.total, 2), "s", saved_s=round(row.saved_seconds, 2), role=row.role
        )
    return made


def summary(rows: Sequence[Row], load: Workload, found: Agreement | None) -> str:
    ours, compat = total(rows, OURS), total(rows, COMPAT)
    low, high = _PUBLISHED_SECONDS
    lines = [
        f"{load.audio_seconds:.2f} s of audio: ours {ours:.1f} CPU-s, compat {compat:.1f}, ratio {ours / compat:.3f}",
        f"compat took {compat / high:.2f} to {compat / low:.2f} of the {low} to {high} CPU-s published for 250 codes",
    ]
    if found is not None:
        lines.append(
            f"embedded checkpoint: {found.argmax_pct:.2f} % of {found.num_codes} teacher-forced codes agree with fp32, "
            f"mel L1 {found.mel_l1:.4f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    share = report.share_to_measure_beside(is_busy_allowed=options.busy)
    if share is None:
        return 1
    torch.set_num_threads(1)
    sizes: Sizes = TOY if options.toy else FULL
    load = Workload(codes=options.codes, steps=options.steps)
    extent = _extent(load, is_quick=options.quick)
    modes = Modes(gpt=options.gpt_dtype, s2mel=options.s2mel_dtype, guidance_interval=options.guidance_interval)
    found = None if options.skip_agreement else agreement(options.model, modes, load)
    rows = list(measure(sizes, load, extent, modes))
    print(f"{sizes.name}, {load}, run: {extent}, the rest scaled linearly\n", table(rows), "", sep="\n")
    print(summary(rows, load, found))
    command = shlex.join(["python", "-m", "bench.stages", *arguments])
    made = figures(rows, found)
    report.write(options.report, "bench-fullsize", command, f"{report.machine(share)}, 1 thread", made)
    missed = [key for key in ("argmax_agreement_pct", "mel_l1") if made.get(key, {}).get("met") is False]
    for key in missed:
        print(f"MISSED {key}: {made[key]['value']}, goal {made[key]['goal']}")
    return 1 if missed else 0


def _extent(load: Workload, *, is_quick: bool) -> Extent:
    few_codes, few_steps = max(2, load.codes // 5), max(1, load.steps // 12)
    if is_quick:
        return Extent(few_codes, few_steps, max(2, few_codes // 2), 1)
    return Extent(load.codes, load.steps, few_codes, few_steps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--codes", type=int, default=250, help="of the utterance; 50 are a second")
    parser.add_argument("--steps", type=int, default=25, help="of the flow, on both sides")
    parser.add_argument("--gpt-dtype", default="bf16", help="what the GPT's fast way computes in")
    parser.add_argument("--s2mel-dtype", default="bf16", help="what the flow's fast way computes in")
    parser.add_argument("--guidance-interval", type=int, default=3, help="of the flow's fast way, in steps")
    parser.add_argument("--quick", action="store_true", help="run a part of the utterance and scale it up")
    parser.add_argument("--toy", action="store_true", help="networks of a few channels, to try the command")
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="checkpoint to measure agreement on")
    parser.add_argument("--skip-agreement", action="store_true", help="measure times only")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    parser.add_argument("--report", type=Path, default=_REPORT)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
