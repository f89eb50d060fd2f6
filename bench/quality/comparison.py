"""Renders every speech whole and under every policy, and keeps the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from bench.quality.material import Speech
from bench.quality.policies import Variant
from bench.quality.rendering import Rendered, Renderer, render_whole
from bench.quality.scores import Reference, Score, Sound
from bench.quality.stages import Stages

Progress = Callable[[str], None]

Listener = Callable[[Speech, Rendered, Mapping[str, Rendered]], None]
"""Told a speech, its whole render, and the streams of profiles and centre by the policy's name."""


@dataclass(frozen=True)
class Extent:
    """How much is rendered."""

    num_speeches: int
    """For every policy."""
    num_heard: int
    """Of these, how many the listener is told of."""
    num_seams: int
    """Seams that the default profile must reach; it goes on alone with further speeches until it has them."""


def compare(
    stages: Stages,
    speeches: Iterable[Speech],
    variants: Sequence[Variant],
    extent: Extent,
    sound: Sound,
    *,
    params: Mapping[str, float],
    listen: Listener | None = None,
    progress: Progress = print,
) -> list[Score]:
    """Score all variants, the first of which is the default profile.

    Args:
        stages: the checkpoint.
        speeches: as many as there must be.
        variants: the policies; the listener hears those without an axis.
        extent: how much.
        sound: how the samples are cut into frames.
        params: parameters that stages have in every render, whole ones too, unless a variant says otherwise.
        listen: told of the first speeches.
        progress: told in words where the comparison is.
    """
    variants = [replace(variant, params={**params, **variant.params}) for variant in variants]
    scores = [Score(variant, sound) for variant in variants]
    endless = iter(speeches)
    for number, speech in enumerate(islice(endless, extent.num_speeches)):
        progress(f"speech {number + 1} of {extent.num_speeches}, {len(variants)} policies")
        whole = render_whole(stages, speech, params)
        streamed = _score(stages, speech, whole, scores)
        if listen is not None and number < extent.num_heard:
            profiles = {variant.name: streamed[variant.name] for variant in variants if not variant.axis}
            listen(speech, whole, profiles)
    default = scores[0]
    while default.num_seams < extent.num_seams:
        speech = next(endless)
        _score(stages, speech, render_whole(stages, speech, params), [default])
        progress(f"seams of {default.variant.name}: {default.num_seams} of {extent.num_seams}")
    return scores


def _score(stages: Stages, speech: Speech, whole: Rendered, scores: Sequence[Score]) -> dict[str, Rendered]:
    reference, renderer, made = Reference(whole, scores[0].sound), Renderer(stages, speech), {}
    for score in scores:
        rendered = renderer.render(score.variant.policy, score.variant.params)
        score.add(speech, rendered, reference)
        made[score.variant.name] = rendered
    return made
