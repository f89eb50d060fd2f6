"""The models that a gateway serves: the text front end of each checkpoint directory, by the model's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.common import indextts2
from services.common.checkpoint import CheckpointError, load_config
from services.frontend.text import TextFrontend, build_frontend

EXPECTED_STAGES = indextts2.STAGES
"""Stages of a checkpoint directory, all of which are laid out as IndexTTS2's; known before a worker has been seen."""


def load_models(directories: Sequence[Path]) -> dict[str, TextFrontend]:
    """Load the text front ends, the default model's first.

    Raises:
        CheckpointError: A directory is no checkpoint, or two are of one name; it names the directory.
    """
    models: dict[str, TextFrontend] = {}
    for directory in directories:
        name, frontend = _load(directory)
        if name in models:
            raise CheckpointError(
                f"{directory}: another checkpoint has the name {name!r} too, and names must differ: "
                "write another one into its config.yaml as `name` under `triptych`"
            )
        models[name] = frontend
    return models


def _load(directory: Path) -> tuple[str, TextFrontend]:
    try:
        config = load_config(directory)
        return config.triptych.name, build_frontend(config, directory)
    except CheckpointError as error:
        if str(directory) in str(error):
            raise
        raise CheckpointError(f"{directory}: {error}") from error
