"""Renders every speech whole and under every policy, and keeps the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from bench.quality.material import Speech
from bench.quality.policies import Variant, yardstick
from bench.quality.rendering import Rendered, Renderer
from bench.quality.scores import Reference, Score, Sound
from bench.quality.stages import Stages
from services.common.stage.policy import Policy

Progress = Callable[[str], None]

WHOLE = "whole"

Listener = Callable[[Speech, Mapping[str, Rendered]], None]
"""Told a speech, and its renders by the policy's name, among them `WHOLE`."""


@dataclass(frozen=True)
class Extent:
    """How much is rendered."""

    num_speeches: int
    """By every profile."""
    num_swept: int
    """Of these, how many every policy of the sweep renders too."""
    num_heard: int
    """Of these, how many the listener is told of."""


@dataclass(frozen=True)
class Contest:
    """What is compared."""

    whole: Policy
    """The best whole render that the checkpoint has."""
    profiles: Sequence[Variant]
    """The default one first."""
    swept: Sequence[Variant]


def compare(
    stages: Stages,
    speeches: Iterable[Speech],
    contest: Contest,
    extent: Extent,
    sound: Sound,
    *,
    listen: Listener | None = None,
    progress: Progress = print,
) -> list[Score]:
    """Score all variants, those of profiles first.

    Args:
        stages: the checkpoint.
        speeches: as many as there must be.
        contest: the policies.
        extent: how much.
        sound: how the samples are cut into frames.
        listen: told of the first speeches.
        progress: told in words where the comparison is.
    """
    profiles, swept = ([Score(variant, sound) for variant in part] for part in (contest.profiles, contest.swept))
    for number, speech in enumerate(islice(speeches, extent.num_speeches)):
        scores = [*profiles, *(swept if number < extent.num_swept else [])]
        progress(f"speech {number + 1} of {extent.num_speeches}, {len(scores)} policies")
        renders = _score(stages, speech, scores, contest.whole)
        if listen is not None and number < extent.num_heard:
            listen(speech, renders)
    return [*profiles, *swept]


def add_seams(
    stages: Stages, speeches: Iterable[Speech], score: Score, num_seams: int, progress: Progress = print
) -> None:
    """Score one policy alone, speech after speech, until it has so many seams."""
    for speech in speeches:
        if score.num_seams >= num_seams:
            return
        _score(stages, speech, [score])
        progress(f"seams of {score.variant.name}: {score.num_seams} of {num_seams}")


def _score(stages: Stages, speech: Speech, scores: Sequence[Score], whole: Policy | None = None) -> dict[str, Rendered]:
    """Add a speech to the scores; the best whole render, many times as dear as a stream, only where it is asked for."""
    renderer, sound = Renderer(stages, speech), scores[0].sound
    references = _References(renderer, sound)
    made = {WHOLE: references.of(whole).rendered} if whole is not None else {}
    best_mel = made[WHOLE].mel if made else None
    for score in scores:
        policy = score.variant.policy
        made[score.variant.name] = rendered = renderer.render(policy)
        score.add(speech, rendered, references.of(yardstick(policy)), best_mel)
    return made


class _References:
    """The whole renders of one speech, each made once."""

    def __init__(self, renderer: Renderer, sound: Sound) -> None:
        self._renderer = renderer
        self._sound = sound
        self._made: list[tuple[Policy, Reference]] = []

    def of(self, policy: Policy) -> Reference:
        for known, reference in self._made:
            if known == policy:
                return reference
        reference = Reference(self._renderer.render(policy), self._sound)
        self._made.append((policy, reference))
        return reference
