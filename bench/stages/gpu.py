"""`python -m bench.stages.gpu`: every stage at full size on a CUDA device, alone and for many streams at once.

Random weights; needs torch and numpy, and the wheels of `make bench-gpu-wheels` where nothing can be fetched. Times are
by the clock: the device should do nothing else. Ends with 2 where there is no CUDA.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench import report
from bench.stages import gpu_memory
from bench.stages.cuda_meter import CudaMeter
from bench.stages.gpu_rows import (
    Row,
    Setting,
    composed,
    forget,
    gpt_rows,
    load_stages,
    memory_parts,
    s2mel_rows,
    vocoder_rows,
)
from bench.stages.system import real_system
from bench.stages.workload import FULL, TOY, Workload
from services.common.errors import OverloadedError

_REPORT = Path("var/reports/bench-gpu.json")


def table(rows: Sequence[Row]) -> str:
    lines = ["| stage | work | streams | ms | audio-s per s |", "|---|---|---|---|---|"]
    for row in rows:
        rate = f"{row.audio_per_second:.1f}" if row.audio_per_second else ""
        lines.append(f"| {row.stage} | {row.label} | {row.streams} | {row.milliseconds:.2f} | {rate} |")
    return "\n".join(lines)


def figures(rows: Sequence[Row]) -> report.Figures:
    return {
        f"{row.stage}: {row.label}, {row.streams} streams": report.figure(
            round(row.milliseconds, 3), "ms", audio_s_per_s=round(row.audio_per_second, 2)
        )
        for row in rows
    }


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    is_cuda = options.device.startswith("cuda")
    if is_cuda and not torch.cuda.is_available():
        print("torch sees no CUDA device here; --device cpu --toy tries the command", file=sys.stderr)
        return 2
    setting = Setting(
        TOY if options.toy else FULL,
        Workload(codes=options.codes, text_ids=40, prompt_frames=options.prompt_frames),
        options.device,
        options.dtype,
        tuple(options.streams),
        tuple(options.steps),
    )
    name = torch.cuda.get_device_name(options.device) if is_cuda else "CPU"
    print(f"{setting.sizes.name}, {options.dtype}, torch {torch.__version__} on {name}; {setting.load}\n")
    made = _memory(setting) if is_cuda else report.Figures()
    stages = load_stages(setting)
    rows = [*gpt_rows(stages, setting), *s2mel_rows(stages, setting), *vocoder_rows(stages, setting)]
    made |= figures(rows) | composed(rows, stages, setting)
    print(table(rows), "", sep="\n")
    report.print_figures({key: figure for key, figure in made.items() if ":" not in key})
    command = shlex.join(["python", "-m", "bench.stages.gpu", *arguments])
    report.write(options.report, "bench-gpu", command, f"{name}, torch {torch.__version__}", made)
    status = report.exit_status(made)
    return (real_system(options.device) if options.system else 0) or status


def _memory(setting: Setting) -> report.Figures:
    """All plans, the uncapped ones first; prints what each stage took."""
    meter, found, made = CudaMeter(setting.device), [], report.Figures()
    for plan in gpu_memory.PLANS:
        planned = replace(setting, streams=(plan.streams,))
        parts = memory_parts(planned, has_encoders=plan.has_encoders)
        use = gpu_memory.measure(parts, meter, plan.cap_gb, (torch.OutOfMemoryError, OverloadedError))
        found.append((plan, use))
        made[plan.key] = gpu_memory.figure(plan, use, {"dtype": setting.dtype, "slots": planned.slots})
        del parts
        forget()
    print(gpu_memory.table(found), "", sep="\n")
    return made


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.stages.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the command")
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--streams", type=_numbers, default=[1, 8, 16, 32], help="utterances at once")
    parser.add_argument("--steps", type=_numbers, default=[25, 12, 8], help="of the flow")
    parser.add_argument("--codes", type=int, default=250, help="of an utterance; 50 are a second")
    parser.add_argument("--prompt-frames", type=int, default=430, help="of a voice; 86 are a second")
    parser.add_argument("--toy", action="store_true", help="networks of a few channels")
    parser.add_argument("--system", action=argparse.BooleanOptionalAction, default=True, help="also four processes")
    parser.add_argument("--report", type=Path, default=_REPORT)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
