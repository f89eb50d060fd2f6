"""What judges say of a few speeches: the prompt, the whole render, and the streams of some policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bench.quality.material import Speech
from bench.quality.rendering import Rendered
from services.common.arrays import Array

WHOLE = "whole"


@dataclass(frozen=True)
class Heard:
    """What the judges say of one render."""

    said: str
    heard: str
    speaker: Array
    """Unit vector (D,)"""
    mos: float
    """1 to 5; compares renders of one voice, and is no absolute claim."""


class Judges(Protocol):
    """The networks that listen."""

    def hear(self, samples: Array, rate_hz: int, said: str) -> Heard:
        """Let all of them listen to samples (N,) in [-1, 1]."""
        ...

    def prompt(self, speech: Speech) -> Array:
        """The unit vector (D,) of the speaker who was to be imitated."""
        ...

    def word_errors(self, said: list[str], heard: list[str]) -> float:
        """Share of the words that are wrong."""
        ...


@dataclass(frozen=True)
class Opinion:
    """Means over the speeches that were judged."""

    num_speeches: int
    word_errors: float
    """In percent, of all words together."""
    likeness_to_prompt: float
    """Cosines."""
    likeness_to_whole: float
    mos: float


@dataclass
class _Renders:
    heard: list[Heard] = field(default_factory=list)
    to_prompt: list[float] = field(default_factory=list)
    to_whole: list[float] = field(default_factory=list)


class Panel:
    """Collects what the judges hear; called with every speech that they are to hear."""

    def __init__(self, judges: Judges, rate_hz: int) -> None:
        self._judges = judges
        self._rate_hz = rate_hz
        self._renders: dict[str, _Renders] = {}

    def __call__(self, speech: Speech, whole: Rendered, streamed: Mapping[str, Rendered]) -> None:
        prompt = self._judges.prompt(speech)
        reference = self._judges.hear(whole.samples, self._rate_hz, speech.text)
        self._add(WHOLE, reference, prompt, reference)
        for name, rendered in streamed.items():
            self._add(name, self._judges.hear(rendered.samples, self._rate_hz, speech.text), prompt, reference)

    def _add(self, name: str, heard: Heard, prompt: Array, whole: Heard) -> None:
        renders = self._renders.setdefault(name, _Renders())
        renders.heard.append(heard)
        renders.to_prompt.append(float(heard.speaker @ prompt))
        renders.to_whole.append(float(heard.speaker @ whole.speaker))

    def opinions(self) -> dict[str, Opinion]:
        """By policy; the whole render's is called `whole`."""
        return {name: self._opinion(renders) for name, renders in self._renders.items()}

    def _opinion(self, renders: _Renders) -> Opinion:
        said, heard = ([getattr(each, side) for each in renders.heard] for side in ("said", "heard"))
        return Opinion(
            num_speeches=len(renders.heard),
            word_errors=100 * self._judges.word_errors(said, heard),
            likeness_to_prompt=float(np.mean(renders.to_prompt)),
            likeness_to_whole=float(np.mean(renders.to_whole)),
            mos=float(np.mean([each.mos for each in renders.heard])),
        )
