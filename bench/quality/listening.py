"""What judges say of a few speeches: the prompt, the best whole render, and the streams of some policies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bench.quality.comparison import WHOLE
from bench.quality.estimates import Estimate, mean, share
from bench.quality.material import Speech
from bench.quality.rendering import Rendered
from services.common.arrays import Array


@dataclass(frozen=True)
class Words:
    """How one render was understood."""

    num_wrong: int
    """Words that are missing, other ones, or too many."""
    num_said: int


@dataclass(frozen=True)
class Impression:
    """What one render sounds like."""

    speaker: Array
    """Unit vector (D,)"""
    mos: float
    """1 to 5; compares renders of one voice, and is no absolute claim."""


class Judges(Protocol):
    """The networks that listen."""

    def words(self, samples: Array, rate_hz: int, said: str) -> Words:
        """Write down samples (N,) in [-1, 1] and compare; takes seconds."""
        ...

    def impression(self, samples: Array, rate_hz: int) -> Impression:
        """Listen to samples (N,) in [-1, 1] without minding the words."""
        ...

    def prompt(self, speech: Speech) -> Array:
        """The unit vector (D,) of the speaker who was to be imitated."""
        ...


@dataclass(frozen=True)
class Opinion:
    """Of one policy, over the speeches that were judged."""

    num_speeches: int
    wrong_words: Estimate | None
    """In percent, of all words together; None where nobody wrote them down."""
    more_wrong_words: Estimate | None
    """In percentage points: this policy's less those of the whole render of the same speeches."""
    likeness_to_prompt: Estimate
    """Cosines."""
    likeness_to_whole: Estimate
    mos: Estimate


@dataclass
class _Heard:
    words: list[Words] = field(default_factory=list)
    to_prompt: list[float] = field(default_factory=list)
    to_whole: list[float] = field(default_factory=list)
    mos: list[float] = field(default_factory=list)


class Panel:
    """Collects what the judges hear; called with every speech that they are to hear."""

    def __init__(self, judges: Judges, rate_hz: int, in_words: Collection[str]) -> None:
        """Of the policies named `in_words` the words are written down too, and of the whole render."""
        self._judges = judges
        self._rate_hz = rate_hz
        self._in_words = {WHOLE, *in_words}
        self._heard: dict[str, _Heard] = {}

    def __call__(self, speech: Speech, renders: Mapping[str, Rendered]) -> None:
        prompt = self._judges.prompt(speech)
        whole = self._judges.impression(renders[WHOLE].samples, self._rate_hz)
        for name, rendered in renders.items():
            heard = self._heard.setdefault(name, _Heard())
            found = whole if name == WHOLE else self._judges.impression(rendered.samples, self._rate_hz)
            heard.mos.append(found.mos)
            heard.to_prompt.append(float(found.speaker @ prompt))
            heard.to_whole.append(float(found.speaker @ whole.speaker))
            if name in self._in_words:
                heard.words.append(self._judges.words(rendered.samples, self._rate_hz, speech.text))

    def opinions(self) -> dict[str, Opinion]:
        """By policy; the best whole render's is called `WHOLE`."""
        return {name: self._opinion(heard) for name, heard in self._heard.items()}

    def _opinion(self, heard: _Heard) -> Opinion:
        whole = self._heard[WHOLE].words
        num_wrong, num_said = [each.num_wrong for each in heard.words], [each.num_said for each in heard.words]
        more = [ours - theirs.num_wrong for ours, theirs in zip(num_wrong, whole, strict=False)]
        return Opinion(
            num_speeches=len(heard.mos),
            wrong_words=_percent(num_wrong, num_said) if num_said else None,
            more_wrong_words=_percent(more, num_said) if num_said else None,
            likeness_to_prompt=mean(heard.to_prompt),
            likeness_to_whole=mean(heard.to_whole),
            mos=mean(heard.mos),
        )


def _percent(parts: list[int], wholes: list[int]) -> Estimate:
    return share([100.0 * part for part in parts], [float(whole) for whole in wholes])
