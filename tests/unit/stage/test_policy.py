"""Policies on the wire: what Describe says of them and what Open brings back."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import InvalidRequestError
from services.common.stage.convert import policy_from_proto, policy_to_proto, spec_to_proto
from services.common.stage.policy import POLICY_RANGES, Policy
from tests.unit.stage.counting_engine import counting_spec

policies = st.builds(
    Policy,
    name=st.sampled_from(["balanced", "latency"]),
    is_whole=st.booleans(),
    codes_per_chunk=st.integers(1, 256),
    first_window_codes=st.integers(1, 100),
    window_growth=st.floats(1, 8),
    max_window_codes=st.integers(100, 4096),
    look_ahead_codes=st.integers(0, 1024),
    prefix_codes=st.integers(0, 1024),
    prompt_seconds=st.floats(0.1, 15),
    crossfade_frames=st.integers(0, 256),
    vocoder_context_frames=st.integers(0, 256),
    vocoder_look_ahead_frames=st.integers(0, 256),
)


@given(policies, st.dictionaries(st.sampled_from(["steps", "cfg_rate"]), st.floats(0, 9), max_size=2))
def test_every_number_comes_through_and_parameters_stay_in_describe(policy: Policy, params: dict[str, float]) -> None:
    message = policy_to_proto(replace(policy, params=params))

    assert dict(message.params) == params
    assert policy_from_proto(message, Policy(name="another", codes_per_chunk=99)) == policy


def test_every_number_has_a_range() -> None:
    numbers = {field.name for field in fields(Policy)} - {"name", "is_whole", "params"}

    assert set(POLICY_RANGES) == numbers


@pytest.mark.parametrize(("name", "bounds"), POLICY_RANGES.items())
def test_a_number_above_its_range_is_refused_by_name(name: str, bounds: tuple[float, float]) -> None:
    message = policy_to_proto(Policy())
    setattr(message, name, int(bounds[1]) + 1)

    with pytest.raises(InvalidRequestError, match=name) as refused:
        policy_from_proto(message, Policy())
    assert refused.value.field == f"open.policy.{name}"


def test_what_cannot_be_0_is_the_default_s() -> None:
    policy = policy_from_proto(stage_pb2.Policy(), Policy(name="latency", codes_per_chunk=3, max_window_codes=60))

    assert (policy.name, policy.codes_per_chunk, policy.max_window_codes) == ("latency", 3, 60)
    assert (policy.look_ahead_codes, policy.vocoder_look_ahead_frames) == (0, 0)


def test_describe_tells_all_policies_with_the_default_first() -> None:
    spec = replace(counting_spec(), policies=(Policy(), Policy(name="latency", params={"factor": 3.0})))
    about = spec_to_proto(spec, worker="w")

    assert [policy.name for policy in about.policies] == ["balanced", "latency"]
    assert dict(about.policies[1].params) == {"factor": 3.0}
    assert spec.default_policy.name == "balanced"
