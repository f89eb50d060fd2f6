"""Every step in order: `python -m recipes.mini`. Each resumes from its own state."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch

# (module, arguments, minutes on one CPU core, minutes on one CUDA device; 0 where the step ends by itself)
STEPS: tuple[tuple[str, tuple[str, ...], float, float], ...] = (
    ("prepare", (), 0, 0),
    ("semantic", (), 60, 4),
    ("teacher_style", (), 0, 0),
    ("encode", (), 0, 0),
    ("style", (), 20, 2),
    ("s2mel", (), 150, 8),
    ("gpt", (), 120, 7),
    ("vocoder", (), 20, 2),
    ("vocoder", ("--adversarial",), 240, 8),
    ("export", (), 0, 0),
    ("evaluate", (), 0, 0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the time of every training step")
    parser.add_argument("--only", nargs="*", help="names of steps to run")
    arguments = parser.parse_args()
    is_cuda = torch.cuda.is_available()
    steps = [step for step in STEPS if not arguments.only or step[0] in arguments.only]
    for number, (name, extra, cpu_minutes, cuda_minutes) in enumerate(steps, start=1):
        minutes = (cuda_minutes if is_cuda else cpu_minutes) * arguments.scale
        timed = ("--minutes", f"{minutes:g}") if minutes else ()
        print(f"[{number}/{len(steps)}] {name} {' '.join((*extra, *timed))}", flush=True)
        started = time.time()
        subprocess.run([sys.executable, "-m", f"recipes.mini.{name}", *extra, *timed], check=True)
        print(f"[{number}/{len(steps)}] {name} took {(time.time() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
