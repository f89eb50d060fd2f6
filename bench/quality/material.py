"""What is rendered again and again: the codes of sentences, spoken by several voices under several seeds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from bench.quality.stages import StageRun, Stages, recordings, voice_features
from services.common.arrays import Array, Tensors
from services.common.checkpoint import load_config
from services.common.stage.session import Chunk
from services.frontend.text.frontend import TextFrontend, build_frontend

SENTENCES = Path(__file__).with_name("sentences.txt")

_MAX_CODES = 450
"""A sentence that finds no end is cut after nine seconds."""


@dataclass(frozen=True)
class Voice:
    """One speaker."""

    name: str
    recording: Path
    features: Tensors


@dataclass(frozen=True)
class Speech:
    """One sentence in one voice, as codes."""

    text: str
    voice: Voice
    seed: int
    codes: Array
    """int32 (N,)"""
    latents: Array
    """float32 (N, L)"""
    prefill_seconds: float
    """CPU seconds before the first code."""
    code_seconds: float
    """CPU seconds of each further code."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The codes in groups, the last of which ends the segment."""
        for start in range(0, len(self.codes), size):
            part = slice(start, start + size)
            tensors = {"codes": self.codes[part], "latents": self.latents[part]}
            yield Chunk(0, start, tensors, is_segment_end=start + size >= len(self.codes))


def read_sentences() -> list[str]:
    return SENTENCES.read_text("utf-8").splitlines()


class Material:
    """An endless series of speeches: sentence after sentence, the next voice each time, a new seed each time."""

    def __init__(self, stages: Stages, model_dir: Path, voices: Path, first: int = 0) -> None:
        """Begin with the speech of number `first`."""
        self._first = first
        self._stages = stages
        self._frontend: TextFrontend = build_frontend(load_config(model_dir), model_dir)
        self._voices = [Voice(path.stem, path, voice_features(stages, path)) for path in recordings(voices)]
        self._sentences = read_sentences()

    def __iter__(self) -> Iterator[Speech]:
        for seed in count(self._first):
            text = self._sentences[seed % len(self._sentences)]
            # Another voice for the sentence when it comes round again, whatever the two numbers have in common.
            voice = self._voices[(seed + seed // len(self._sentences)) % len(self._voices)]
            speech = self._speak(text, voice, seed)
            if len(speech.codes):
                yield speech

    def _speak(self, text: str, voice: Voice, seed: int) -> Speech:
        """The first segment of a text, which for these sentences is all of it."""
        ids = np.array(self._frontend.segments(text)[0].token_ids, np.int32)
        policy, params = self._stages.policies[0], {"max_codes": float(_MAX_CODES)}
        with StageRun(self._stages.gpt, seed=seed, policy=policy, params=params, voice=voice.features) as run:
            started = time.process_time()
            chunks, times = [], []
            for chunk in run.push(Chunk(0, 0, {"ids": ids}, is_segment_end=True)):
                chunks.append(chunk)
                times.append(time.process_time() - started)
        prefill, each = costs_of([chunk.length for chunk in chunks], times)
        codes, latents = (np.concatenate([chunk.tensors[name] for chunk in chunks]) for name in ("codes", "latents"))
        return Speech(text, voice, seed, codes, latents, prefill, each)


def costs_of(lengths: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """CPU seconds before the first code, and of each code, from when chunks of some lengths came."""
    later = sum(lengths[1:])
    each = (times[-1] - times[0]) / later if later else 0.0
    return max(0.0, times[0] - lengths[0] * each), each
