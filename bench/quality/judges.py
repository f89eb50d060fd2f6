"""Networks that listen: words by whisper-small, whose voice by ERes2Net, how natural by DistillMOS.

They are fetched when first needed, live in a cache outside the tree and are made by others: no test needs them.
"""

from __future__ import annotations

import subprocess
import sys
import types
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soxr
import torch

from bench.parity.gpt_side import read_audio
from bench.quality.listening import Impression, Words
from bench.quality.material import Speech
from recipes.mini import hearing, paths, speaker_judge
from services.common.arrays import Array

_MOS_WHEELS = ("distillmos==0.9.1", "xls-r-sqa==0.1.0")
_RATE_HZ = 16000
"""Of all three networks."""


class NetworkJudges:
    """See `bench.quality.listening.Judges`."""

    def __init__(self) -> None:
        """Load all three, for what cannot be fetched must show before anything is rendered.

        Raises:
            OSError, subprocess.CalledProcessError: A network cannot be fetched.
        """
        hearing.normaliser()
        speaker_judge.network()
        _mos_network()

    def words(self, samples: Array, rate_hz: int, said: str) -> Words:
        normalise = hearing.normaliser()
        found = jiwer.process_words(normalise(said), normalise(hearing.hear(samples, rate_hz)))
        return Words(
            num_wrong=found.substitutions + found.deletions + found.insertions,
            num_said=found.hits + found.substitutions + found.deletions,
        )

    def impression(self, samples: Array, rate_hz: int) -> Impression:
        wave = torch.from_numpy(soxr.resample(samples, rate_hz, _RATE_HZ).astype(np.float32))
        return Impression(_speaker(wave), _mos(wave))

    def prompt(self, speech: Speech) -> Array:
        return _speaker_of(speech.voice.recording)


@cache
def _speaker_of(recording: Path) -> Array:
    return _speaker(read_audio(recording, _RATE_HZ))


def _speaker(wave: torch.Tensor) -> Array:
    return speaker_judge.embed_wave(wave).numpy()


@torch.inference_mode()
def _mos(wave: torch.Tensor) -> float:
    return float(_mos_network()(wave[None]))


@cache
def _mos_network() -> Any:
    folder = paths.STATE / "distillmos"
    if not (folder / "distillmos").exists():
        # Without their requirements, which only their command line uses.
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *_MOS_WHEELS]
        subprocess.run(command, check=True)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(folder)
            wheel.unlink()
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    from distillmos import ConvTransformerSQAModel  # noqa: PLC0415 (on the path only now)

    return ConvTransformerSQAModel().eval()
