"""`python -m bench.roofline`: print the work of each stage and what devices could make of it at best.

Times are predictions: nothing here is run on a GPU.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.roofline.devices import GPUS, REACHED_BANDWIDTH, REACHED_COMPUTE, Device, this_cpu
from bench.roofline.ops import condition, decode_step, euler_step, prefill, prefix_length, vocoder
from bench.roofline.plans import plans
from bench.stages.workload import FULL, Sizes, Workload

_REPORT = Path("var/reports/roofline.json")


def work_table(sizes: Sizes, load: Workload) -> list[str]:
    """GFLOP and bytes of each stage; bytes as half precision, the vocoder's as float32."""
    frames = load.prompt_frames + load.frames
    rows = (
        (f"GPT prefill, {prefix_length(load)} positions", prefill(sizes, load), 2),
        ("GPT decode step, 1 row", decode_step(sizes, load), 2),
        ("GPT decode step, 32 rows", decode_step(sizes, load, 32), 2),
        ("condition", condition(sizes, load.codes, load.frames), 2),
        (f"Euler step, {frames} frames, guided", euler_step(sizes, frames), 2),
        (f"vocoder, {load.frames} frames", vocoder(sizes, load.frames), 4),
    )
    lines = ["| work | GFLOP | GB moved | FLOP per byte |", "|---|---|---|---|"]
    for label, ops, width in rows:
        gflop, gbyte = sum(op.flops for op in ops) / 1e9, width * sum(op.elements for op in ops) / 1e9
        lines.append(f"| {label} | {gflop:.3g} | {gbyte:.3g} | {gflop / gbyte:.3g} |")
    return lines


def predictions(sizes: Sizes, load: Workload, devices: Sequence[Device]) -> list[str]:
    """Predicted times per device for the whole render and for each policy that the checkpoint has."""
    lines = [
        "| device | policy | GPT ms | S2Mel ms | vocoder ms | RTF | first audio ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for device in devices:
        for name, stage, first in plans(sizes, load):
            parts = stage.seconds(device)
            cells = [f"{1000 * part:.0f}" for part in parts]
            starts = f"{1000 * sum(first.seconds(device)):.0f}"
            lines.append(
                f"| {device.name} | {name} | {' | '.join(cells)} | {sum(parts) / load.audio_seconds:.3f} | {starts} |"
            )
    return lines


def figures(sizes: Sizes, load: Workload, devices: Sequence[Device]) -> report.Figures:
    made: report.Figures = {}
    for device in devices:
        for name, stage, first in plans(sizes, load):
            key = f"predicted.{device.name}.{name.partition(',')[0]}"
            made[f"{key}.rtf"] = {"value": round(sum(stage.seconds(device)) / load.audio_seconds, 4), "unit": ""}
            made[f"{key}.first_audio"] = {"value": round(1000 * sum(first.seconds(device)), 1), "unit": "ms"}
    return made


def preamble(load: Workload, cpu: Device) -> str:
    half, full = (f"{1000 * peak:.0f} GFLOP/s" for peak in (cpu.half_tflops, cpu.tf32_tflops))
    return "\n".join(
        [
            "PREDICTIONS, not measurements, for",
            f"{load.codes} codes = {load.audio_seconds:.2f} s of audio with a prompt of {load.prompt_frames} frames;",
            f"GPUs at {REACHED_COMPUTE:.0%} of their data sheets' FLOP/s (half precision; the vocoder TF32) and",
            f"{REACHED_BANDWIDTH:.0%} of their bytes/s. First audio is the stages' work before it, without text,",
            f"transport and launches. This CPU reached {half} in bfloat16, {full} in float32,",
            f"{cpu.gb_per_second:.1f} GB/s.",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.roofline", description=__doc__)
    parser.add_argument("--report", type=Path, default=_REPORT)
    options = parser.parse_args(arguments)
    load, cpu = Workload(), this_cpu()
    print(*work_table(FULL, load), "", preamble(load, cpu), "", sep="\n")
    print(*predictions(FULL, load, [*GPUS, cpu]), sep="\n")
    command = shlex.join(["python", "-m", "bench.roofline", *arguments])
    report.write(
        options.report, "roofline", command, report.machine(report.foreign_share()), figures(FULL, load, [*GPUS, cpu])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
