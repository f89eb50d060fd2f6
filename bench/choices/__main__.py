"""`python -m bench.choices`: solvers of the flow, kept guidance and the vocoder's context, each against its yardstick.

On a checkpoint's own voices and sentences, in one thread and in float32: what is compared are the choices, not the
numbers they are computed in. Nothing is timed, so nothing depends on how busy the machine is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from bench import report
from bench.choices import contexts, flows, tables
from bench.choices.contexts import Difference
from bench.choices.flows import Distance
from bench.quality.material import Material, Speech
from bench.quality.stages import Stages, load_stages, recordings, voice_features
from services.common.checkpoint import CheckpointError, load_config
from services.common.devices import numeric_mode
from services.s2mel_worker.model.playback import FRAMES_PER_SECOND

REPORT = Path("var/reports/bench-choices.json")
_DTYPE = "fp32"


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    began = time.process_time()
    try:
        stages = load_stages(options.model, _DTYPE)
        cfg_rate = load_config(options.model).triptych.flow.cfg_rate if options.cfg_rate is None else options.cfg_rate
        speeches = _speeches(stages, options)
        solvers = tables.cells(list(_solvers(stages, speeches, options.reference_steps, cfg_rate)))
        guidance = tables.cells(list(_guidance(stages, speeches, cfg_rate)))
        context = list(_contexts(stages, options.model / "voices", options.seconds))
    except (CheckpointError, FileNotFoundError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "-m", "bench.choices", *arguments])
    print(_page(solvers, guidance, context, options, cfg_rate))
    print(f"\n`{command}`: {time.process_time() - began:.0f} CPU seconds")
    found = tables.figures(solvers, guidance, context)
    report.write(options.report, "bench-choices", command, report.machine(), found, dtype=numeric_mode(_DTYPE))
    return 0


def _speeches(stages: Stages, options: argparse.Namespace) -> list[Speech]:
    material = Material(stages, options.model, options.model / "voices")
    return [flows.shortened(speech, options.codes) for speech in islice(material, options.speeches)]


def _solvers(stages: Stages, speeches: Sequence[Speech], reference_steps: int, cfg_rate: float) -> Iterator[Distance]:
    for number, speech in enumerate(speeches, start=1):
        print(f"solvers, speech {number} of {len(speeches)}", file=sys.stderr)
        yield from flows.solver_distances(stages.s2mel, speech, reference_steps, cfg_rate)


def _guidance(stages: Stages, speeches: Sequence[Speech], cfg_rate: float) -> Iterator[Distance]:
    if not cfg_rate:
        return
    for number, speech in enumerate(speeches, start=1):
        print(f"guidance, speech {number} of {len(speeches)}", file=sys.stderr)
        yield from flows.guidance_distances(stages.s2mel, speech, cfg_rate)


def _contexts(stages: Stages, voices: Path, seconds: float) -> Iterator[Difference]:
    frames = int(seconds * FRAMES_PER_SECOND)
    mels = [voice_features(stages, path)["prompt_mel"][:frames] for path in recordings(voices)]
    found = [list(contexts.differences(stages.vocoder, mel, contexts.all_pairs())) for mel in mels]
    for of_pair in zip(*found, strict=True):
        yield contexts.together(of_pair)


def _page(
    solvers: tables.Cells,
    guidance: tables.Cells,
    context: Sequence[Difference],
    options: argparse.Namespace,
    cfg_rate: float,
) -> str:
    said = f"{options.speeches} speeches of at most {options.codes} codes, guidance {cfg_rate:g}"
    kept = tables.guidance_table(guidance) if guidance else "The flow needs no guidance: there is none to keep."
    return "\n\n".join(
        (
            f"Computed in {numeric_mode(_DTYPE)}.",
            f"Solver: mel L1 to {options.reference_steps} equal Euler steps of the same noise, {said}.",
            tables.solver_table(solvers),
            "Guidance kept between late steps: mel L1 to the same solver with guidance at every step; in brackets the "
            "steps that still compute it.",
            kept,
            f"Frames that the vocoder sees, in chunks of {contexts.CHUNK_FRAMES}, against the whole render, in int16 "
            f"steps, {options.seconds:g} s of each voice.",
            tables.context_table(context),
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.choices", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini"))
    parser.add_argument("--speeches", type=int, default=3, help="sentences, each in the next voice")
    parser.add_argument("--codes", type=int, default=75, help="of each, at most; 50 are a second")
    parser.add_argument("--reference-steps", type=int, default=100, help="of the yardstick of the solvers")
    parser.add_argument("--cfg-rate", type=float, help="guidance; the checkpoint's own when left out")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each voice's recording for the vocoder")
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
