"""The sweep changes one value at a time."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from bench.quality.policies import AXES, CENTRE, profiles, sweep
from services.common.checkpoint.sections import StreamingPolicy
from services.common.stage.policy import Policy


def test_each_variant_differs_from_the_centre_in_its_axis_alone() -> None:
    for variant in sweep(list(AXES)):
        changed = {key for key, value in asdict(variant.policy).items() if value != asdict(CENTRE)[key]}
        assert changed | set(variant.params) == ({variant.axis} if variant.axis else set())


@pytest.mark.parametrize("axis", sorted(set(AXES) - {"steps"}))
def test_an_axis_holds_the_centre_and_values_that_a_checkpoint_may_have(axis: str) -> None:
    assert getattr(CENTRE, axis) in AXES[axis]
    for value in AXES[axis]:
        StreamingPolicy.model_validate({axis: value})


def test_names_are_unique() -> None:
    names = [variant.name for variant in sweep(list(AXES))]

    assert len(set(names)) == len(names)


def test_only_the_axes_that_were_asked_for_are_swept() -> None:
    assert {variant.axis for variant in sweep(["steps"])} == {"", "steps"}


def test_profiles_keep_their_order_and_have_no_axis() -> None:
    policies = (Policy("balanced"), Policy("latency"))

    assert [(variant.name, variant.policy, variant.axis) for variant in profiles(policies)] == [
        ("balanced", policies[0], ""),
        ("latency", policies[1], ""),
    ]
