"""Seams are made in another process; one that fails is not waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.quality.policies import Variant
from bench.quality.scores import Sound
from bench.quality.seam_process import SeamTask, score_elsewhere
from services.common.checkpoint import PreprocessParams
from services.common.stage.policy import Policy


def test_a_process_without_a_checkpoint_ends_and_says_so(tmp_path: Path) -> None:
    sound = Sound(256, 22050, PreprocessParams())
    task = SeamTask(tmp_path, tmp_path, 0, 10, Variant("balanced", Policy()), sound, "fp32")

    with score_elsewhere(task) as seams, pytest.raises(RuntimeError, match="ended without"):
        seams()
