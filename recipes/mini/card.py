"""The model card that ships with the checkpoint: what it is, how well it did, where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from recipes.mini import paths

SECTION = """# Mini voice

A small English checkpoint in the IndexTTS2 topology and file layout, trained from scratch on synthetic
speech by `recipes/mini` (its README says how). It exists so that a fresh machine speaks with no download
and no GPU.
It is a demonstration, not a production voice: **judge the pipeline by it, not the model family.**

## State of training

{stages}

{warning}

## Figures

{figures}

## Limits

* English only, from phonemes (`config.yaml`, `triptych.text`); other scripts are dropped by the converter.
* No emotion training: `feat1.pt` and `feat2.pt` are small noise, so an emotion vector changes little and
  means nothing.
* `gpt_layer` is zero: codes alone, not GPT latents, shape the mel.
* Segments of at most {max_codes} codes ({seconds} s); prompts of 1.5 to 8 s.
* Nobody has listened to it; every figure comes from models.

## Data and licences

* Speech: output of Kokoro-82M v1.0 (Apache-2.0 weights), 5.7 h, 108 voices and mixes, 324 apparent
  speakers. No person was recorded. `voices/*.flac` are such outputs too: {voices}.
* Phonemes: hibari-tts 0.2.1 (Apache-2.0).
* Texts: own templates, and WordNet 3.0 example sentences and definitions.
  WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Permission to use, copy,
  modify and distribute this software and database and its documentation for any purpose and without fee
  or royalty is hereby granted, provided that you agree to comply with the following copyright notice
  and statements, including the disclaimer, and that the same appear on ALL copies of the software,
  database and documentation, including modifications that you make for internal use or for
  distribution. THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO
  REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON
  UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES OF MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR
  PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY
  THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS. The name of Princeton University or
  Princeton may not be used in advertising or publicity pertaining to distribution of the software
  and/or database.
* Style encoder: taught by ERes2Net (3D-Speaker, Apache-2.0); none of its weights are here.
* No weights of IndexTTS2 or of its parts were used; the weights here carry this repository's licence.
"""

LABELS = {
    "semantic": "semantic encoder and codec",
    "style": "style encoder (CAM++)",
    "s2mel": "S2Mel (length regulator, flow)",
    "gpt": "GPT",
    "vocoder": "vocoder (BigVGAN)",
}


def last_values(step: str) -> dict[str, str]:
    """The latest held-out figures of a step, from its curve."""
    path = paths.RUNS / step / "curve.csv"
    if not path.exists():
        return {}
    rows = [line.strip().split(",") for line in path.read_text().splitlines()]
    return {key: value for _, _, key, value in rows if key.startswith(("held_", "mel_l1", "spectral"))}


def write(root: Path, steps: Mapping[str, int], voices: Mapping[str, str], max_codes: int) -> None:
    stages = ["| stage | steps | last figures of its own training |", "|---|---|---|"]
    for name, label in LABELS.items():
        values = ", ".join(f"{key.removeprefix('held_')} {value}" for key, value in last_values(name).items())
        stages.append(f"| {label} | {steps[name] or 'none: random weights'} | {values or '-'} |")
    untrained = [LABELS[name] for name, count in steps.items() if not count]
    warning = (
        f"**Not yet trained: {', '.join(untrained)}. The output is noise; shapes and speed are final.**"
        if untrained
        else "Every stage has been trained; how far is below. Gates and aims are in recipes/mini/README.md."
    )
    report = paths.EVALUATION / "report.json"
    figures = "None measured yet for this export."
    if report.exists():
        rows = [f"| {key} | {value} |" for key, value in json.loads(report.read_text()).items()]
        figures = "\n".join(["| what | value |", "|---|---|", *rows])
    spoken = ", ".join(f"{name} ({voice})" for name, voice in voices.items())
    text = SECTION.format(
        stages="\n".join(stages),
        warning=warning,
        figures=figures,
        voices=spoken,
        max_codes=max_codes,
        seconds=max_codes // 50,
    )
    (root / "README.md").write_text(text)
