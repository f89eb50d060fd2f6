"""Parameters of a request beside those of its policy: which holds, which gives way, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import InvalidRequestError
from services.common.parameter_conflicts import conflicts
from services.common.reasons import Reason
from services.frontend.request.parameter_conflicts import merged

DEFAULTS = {
    "temperature": 0.8,
    "top_p": 0.8,
    "greedy": 0.0,
    "num_beams": 1.0,
    "length_penalty": 0.0,
    "compat": 0.0,
    "cfg_rate": 0.7,
    "guidance_interval": 1.0,
    "steps": 25.0,
}
DECLARED = {name: stage_pb2.ParamSpec(name=name, default_value=value) for name, value in DEFAULTS.items()}


def together(own: dict[str, float], **of_policy: float) -> dict[str, float]:
    return merged(own, stage_pb2.Policy(name="calm", params=of_policy), DECLARED)


def test_a_policy_sets_what_the_request_does_not() -> None:
    assert together({"steps": 7.0}, steps=12, cfg_rate=0.5) == {"steps": 7.0, "cfg_rate": 0.5}


def test_what_no_stage_of_the_model_has_is_left_out() -> None:
    assert together({}, sway=-0.5, steps=12) == {"steps": 12.0}


@pytest.mark.parametrize(
    ("own", "of_policy", "field", "message"),
    [
        (
            {"temperature": 0.5},
            {"greedy": 1},
            "config.sampling.temperature",
            "policy calm sets config.sampling.is_greedy to 1",
        ),
        (
            {"guidance_interval": 2.0},
            {"cfg_rate": 0},
            "config.params[guidance_interval]",
            "policy calm sets config.render.cfg_rate to 0",
        ),
        (
            {"length_penalty": 1.0},
            {"num_beams": 1},
            "config.params[length_penalty]",
            r"policy calm sets config.params\[num_beams\] to 1",
        ),
        ({}, {"num_beams": 3}, "config.render.policy", r"policy calm sets config.params\[num_beams\] to 3"),
    ],
)
def test_a_conflict_with_the_policy_says_what_the_policy_sets(
    own: dict[str, float], of_policy: dict[str, float], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message) as refused:
        together(own, **of_policy)

    assert (refused.value.field, refused.value.reason) == (field, Reason.FIELD_CONFLICT)


def test_a_conflict_within_the_request_does_not_speak_of_the_policy() -> None:
    with pytest.raises(InvalidRequestError, match="draws nothing") as refused:
        together({"temperature": 0.5, "greedy": 1.0}, greedy=1, steps=12)

    assert "calm" not in refused.value.message


def test_the_requests_own_value_settles_a_conflict() -> None:
    assert together({"guidance_interval": 2.0, "cfg_rate": 0.7}, cfg_rate=0)["cfg_rate"] == 0.7


@pytest.mark.parametrize(
    ("own", "of_policy"),
    [({"greedy": 1.0}, {"temperature": 0.5, "top_p": 0.9}), ({"cfg_rate": 0.0}, {"guidance_interval": 2})],
)
def test_a_policys_value_gives_way_where_the_request_leaves_it_without_effect(
    own: dict[str, float], of_policy: dict[str, float]
) -> None:
    assert together(own, **of_policy, steps=12) == {**own, "steps": 12.0}


VALUES = st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.sampled_from([0.0, 0.5, 1.0, 3.0]), max_size=5)


@given(own=VALUES, of_policy=VALUES)
def test_what_holds_is_the_requests_and_has_an_effect(own: dict[str, float], of_policy: dict[str, float]) -> None:
    try:
        values = together(own, **of_policy)
    except InvalidRequestError:
        return

    assert own.items() <= values.items()
    assert values.items() <= {**of_policy, **own}.items()
    in_conflict = {conflict.name for conflict in conflicts(DEFAULTS | values)}
    assert in_conflict.isdisjoint(values)
