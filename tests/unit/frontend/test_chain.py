"""Pipelines made of what stages say of themselves; any number of them."""

from __future__ import annotations

import pytest

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import StageLostError
from services.frontend.workers import chain
from tests.fakes.stage_worker import PCM, TEXT, describe


def names(*stages: stage_pb2.DescribeResponse) -> list[str]:
    return [stage.stage for stage in chain.order(stages)]


def test_three_stages_are_put_in_order() -> None:
    assert names(describe("vocoder"), describe("gpt"), describe("s2mel")) == ["gpt", "s2mel", "vocoder"]


def test_one_stage_can_be_a_whole_pipeline() -> None:
    assert names(stage_pb2.DescribeResponse(stage="all", takes=TEXT, gives=PCM)) == ["all"]


def test_look_ahead_does_not_part_two_stages() -> None:
    gpt, s2mel = describe("gpt"), describe("s2mel")
    s2mel.takes.look_ahead = 99

    assert chain.connects(gpt.gives, s2mel.takes)


@pytest.mark.parametrize(
    ("field", "value"), [("latent_width", 5), ("codebooks", 2), ("vocabulary", 1), ("rate_numerator", 50)]
)
def test_edges_that_differ_do_not_connect(field: str, value: int) -> None:
    gpt, s2mel = describe("gpt"), describe("s2mel")
    setattr(s2mel.takes, field, value)

    assert not chain.connects(gpt.gives, s2mel.takes)


def test_equal_rates_connect_however_they_are_written() -> None:
    gpt, s2mel = describe("gpt"), describe("s2mel")
    s2mel.takes.rate_numerator *= 3
    s2mel.takes.rate_denominator *= 3

    assert chain.connects(gpt.gives, s2mel.takes)


def test_required_tensor_that_nobody_gives_parts_two_stages() -> None:
    gpt, s2mel = describe("gpt"), describe("s2mel")
    s2mel.takes.tensors.add(name="pitch", dtype="float32", shape=[-1])
    assert not chain.connects(gpt.gives, s2mel.takes)

    s2mel.takes.tensors[-1].is_optional = True
    assert chain.connects(gpt.gives, s2mel.takes)


def test_missing_stage_is_named_by_what_it_would_take() -> None:
    with pytest.raises(StageLostError, match=r"EDGE_KIND_MEL that 's2mel' gives.*gpt, s2mel"):
        chain.order([describe("gpt"), describe("s2mel")])
    with pytest.raises(StageLostError, match="EDGE_KIND_TEXT"):
        chain.order([])


def test_two_stages_for_one_place_are_refused() -> None:
    other = describe("gpt")
    other.stage = "gpt_too"

    with pytest.raises(StageLostError, match="more than one"):
        chain.order([describe("gpt"), other, describe("s2mel"), describe("vocoder")])


def test_stages_in_a_circle_are_refused() -> None:
    first = stage_pb2.DescribeResponse(stage="a", takes=TEXT, gives=describe("gpt").gives)
    back = stage_pb2.DescribeResponse(stage="b", takes=describe("gpt").gives, gives=TEXT)

    with pytest.raises(StageLostError):
        chain.order([first, back])
