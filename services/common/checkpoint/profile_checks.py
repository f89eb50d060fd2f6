"""What is wrong with a checkpoint's profiles and defaults: numbers that do not fit together, and parameters.

A table that passes here is one that the stages serve: whatever they would refuse or ignore is said before they start.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from services.common.checkpoint.parameters import gpt_parameters, s2mel_parameters
from services.common.checkpoint.profiles import StreamingPolicy
from services.common.checkpoint.sections import CheckpointConfig
from services.common.parameter_conflicts import conflicts
from services.common.stage.spec import ParamSpec

_NOT_IN_PROFILES = {
    "compat": "it is a policy of its own",
    "num_beams": "it needs policy compat",
    "length_penalty": "it needs policy compat",
}

_KEY_OF_DEFAULT = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "repetition_penalty": "sampling.repetition_penalty",
    "length_penalty": "sampling.length_penalty",
    "steps": "flow.steps",
    "cfg_rate": "flow.cfg_rate",
}
"""Where config.yaml states the defaults of parameters; `top_k` and `max_codes` are cut to what the model has."""


def complaints(config: CheckpointConfig) -> Iterator[str]:
    """Each mistake with its key, its value and what is allowed."""
    parameters = {spec.name: spec for spec in (*gpt_parameters(config), *s2mel_parameters(config))}
    for name, key in _KEY_OF_DEFAULT.items():
        spec = parameters[name]
        if not spec.accepts(spec.default):
            yield f"triptych.{key} = {spec.default:g}: {spec.allowed} are allowed"
    for name, profile in config.triptych.policies.items():
        key = f"triptych.policies.{name}"
        for complaint in (*_sizes(profile), *_parameters(profile.params, parameters)):
            yield f"{key}.{complaint}"
    for complaint in _parameters(config.triptych.whole.params, parameters):
        yield f"triptych.whole.{complaint}"


def _sizes(profile: StreamingPolicy) -> Iterator[str]:
    first = profile.first_window_codes
    if profile.max_window_codes < first:
        yield f"max_window_codes = {profile.max_window_codes}: {first} or more are allowed, as first_window_codes is"
    blended = min(_least_frames(first), _least_frames(profile.look_ahead_codes))
    if profile.crossfade_frames > blended:
        yield (
            f"crossfade_frames = {profile.crossfade_frames}: 0 to {blended} are allowed, the frames that both "
            f"first_window_codes ({first}) and look_ahead_codes ({profile.look_ahead_codes}) have"
        )
    most = _least_frames(first) - 1
    if profile.vocoder_look_ahead_frames > most:
        yield (
            f"vocoder_look_ahead_frames = {profile.vocoder_look_ahead_frames}: 0 to {most} are allowed, or no sound "
            f"would come of the first window, {first} codes"
        )


def _parameters(given: Mapping[str, float], known: Mapping[str, ParamSpec]) -> Iterator[str]:
    for name, value in given.items():
        if name in _NOT_IN_PROFILES or name not in known:
            yield f"params.{name} = {value:g}: {_unknown(name, known)}"
        elif not known[name].accepts(value):
            yield f"params.{name} = {value:g}: {known[name].allowed} are allowed"
    for conflict in conflicts({name: value for name, value in given.items() if name not in _NOT_IN_PROFILES}):
        why = conflict.why.format(other=f"params.{conflict.other}")
        yield f"params.{conflict.name} = {given[conflict.name]:g}: {why}; one of the two is allowed"


def _unknown(name: str, known: Mapping[str, ParamSpec]) -> str:
    if name in _NOT_IN_PROFILES:
        return f"not allowed in a profile, {_NOT_IN_PROFILES[name]}"
    allowed = [name for name in known if name not in _NOT_IN_PROFILES]
    nearest = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"no stage has this parameter{hint}; allowed are {', '.join(allowed)}"


def _least_frames(num_codes: int) -> int:
    """The fewest frames, 1.72 to a code, that so many codes own, wherever in a segment and at the usual pace."""
    return num_codes * 43 // 25
