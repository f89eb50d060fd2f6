"""Where the recipe reads speech, keeps its working state, and writes the finished checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Everything that can be made again lives outside the tree, so that a clean checkout stays small.
STATE = Path(os.environ.get("TRIPTYCH_MINI_STATE", "~/.cache/triptych/mini")).expanduser()
SPEECH = Path(os.environ.get("TRIPTYCH_MINI_SPEECH", STATE / "speech")).expanduser()
CHECKPOINT = Path(os.environ.get("TRIPTYCH_MINI_CHECKPOINT", REPOSITORY / "models/mini"))

# The codec's decoder and the label heads: no service needs them, going on with the training does.
SEMANTIC_HEADS = REPOSITORY / "recipes/mini/semantic_heads.safetensors"

FEATURES = STATE / "features"
AUDIO = STATE / "audio"
CODES = STATE / "codes"
RUNS = STATE / "runs"
EVALUATION = STATE / "evaluation"


def run_directory(step: str) -> Path:
    """Checkpoints, curves and pictures of one training step."""
    path = RUNS / step
    path.mkdir(parents=True, exist_ok=True)
    return path
