"""The sweep changes one value of the default profile at a time."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from bench.quality.policies import (
    AXES,
    CENTRE,
    STEPS,
    blended_frames,
    profiles,
    sweep,
    value_of,
    with_params,
    yardstick,
)
from services.common.checkpoint.profiles import StreamingPolicy
from services.common.stage.policy import Policy

DEFAULT = Policy(first_window_codes=22, look_ahead_codes=5, max_window_codes=100, params={"steps": 4.0, "sway": -0.5})

GIVES_WAY = {"first_window_codes", "crossfade_frames"}
"""Where another value would not leave room for them."""


def test_each_variant_differs_from_the_default_profile_in_its_axis_alone() -> None:
    for variant in sweep(DEFAULT, list(AXES)):
        changed = {key for key, value in asdict(variant.policy).items() if value != asdict(DEFAULT)[key]}
        axis = "params" if variant.axis == STEPS else variant.axis
        assert changed - GIVES_WAY == ({axis} if axis else set()) - GIVES_WAY
        assert not axis or axis in changed


def test_a_variant_of_the_steps_keeps_the_other_parameters() -> None:
    for variant in sweep(DEFAULT, [STEPS]):
        assert variant.policy.params == {"steps": variant.value if variant.axis else 4.0, "sway": -0.5}


def test_a_crossfade_blends_no_more_than_the_look_ahead() -> None:
    policy = Policy(crossfade_frames=8, look_ahead_codes=3)

    assert blended_frames(policy) == 5
    assert blended_frames(replace(policy, look_ahead_codes=10)) == 8
    assert blended_frames(replace(policy, look_ahead_codes=0)) == 0
    for variant in sweep(replace(DEFAULT, crossfade_frames=8), ["look_ahead_codes"]):
        assert variant.policy.crossfade_frames == blended_frames(variant.policy)


def test_a_first_window_is_no_longer_than_the_longest() -> None:
    for variant in sweep(replace(DEFAULT, first_window_codes=80), ["max_window_codes"]):
        assert variant.policy.first_window_codes <= variant.policy.max_window_codes


@pytest.mark.parametrize("axis", sorted(set(AXES) - {STEPS}))
def test_an_axis_has_values_that_a_checkpoint_may_have(axis: str) -> None:
    for value in AXES[axis]:
        StreamingPolicy.model_validate({axis: value})


def test_names_are_unique() -> None:
    names = [variant.name for variant in sweep(DEFAULT, list(AXES))]

    assert len(set(names)) == len(names)


def test_only_the_axes_that_were_asked_for_are_swept() -> None:
    assert {variant.axis for variant in sweep(DEFAULT, [STEPS])} == {"", STEPS}
    assert list(sweep(DEFAULT, [])) == []


def test_the_centre_is_the_default_profile_under_another_name() -> None:
    first = next(sweep(DEFAULT, list(AXES)))

    assert (first.name, first.policy) == (CENTRE, DEFAULT)


def test_a_policy_without_steps_of_its_own_stands_nowhere_on_their_axis() -> None:
    assert value_of(DEFAULT, STEPS) == 4
    assert value_of(Policy(), STEPS) is None
    assert value_of(Policy(prefix_codes=3), "prefix_codes") == 3


def test_profiles_keep_their_order_and_have_no_axis() -> None:
    policies = (Policy("balanced"), Policy("latency"))

    assert [(variant.name, variant.policy, variant.axis) for variant in profiles(policies)] == [
        ("balanced", policies[0], ""),
        ("latency", policies[1], ""),
    ]


def test_given_parameters_go_before_those_of_the_policy() -> None:
    assert with_params(DEFAULT, {"steps": 6.0}).params == {"steps": 6.0, "sway": -0.5}


def test_the_yardstick_of_a_stream_has_its_prompt_and_its_solver() -> None:
    """So that nothing but the windows sets the two apart; streams with other windows share it."""
    ours = yardstick(replace(DEFAULT, prompt_seconds=0.8))

    assert (ours.is_whole, ours.prompt_seconds, ours.params) == (True, 0.8, DEFAULT.params)
    assert ours == yardstick(replace(DEFAULT, prompt_seconds=0.8, first_window_codes=50, vocoder_context_frames=8))
    assert ours != yardstick(replace(DEFAULT, prompt_seconds=1.5))
