"""Which policy a request has that names none: the model's first, or what the operator chose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import models_pb2, synthesis_pb2
from services.frontend.request import validation
from services.frontend.request.resolver import RequestRules
from tests.fakes.stage_worker import describe
from tests.fakes.system import FakeSystem, fake_system
from tests.unit.frontend.conftest import request

POLICIES = (
    stage_pb2.Policy(name="balanced", first_window_codes=2),
    stage_pb2.Policy(name="latency", first_window_codes=1, params={"steps": 4, "cfg_rate": 0.5}),
)


def abouts(policies: Sequence[stage_pb2.Policy] = POLICIES) -> list[stage_pb2.DescribeResponse]:
    stages = [describe(stage) for stage in ("gpt", "s2mel", "vocoder")]
    for about in stages:
        del about.policies[:]
        about.policies.extend(policies)
    return stages


@asynccontextmanager
async def gateway(directory: Path, default_policy: str) -> AsyncIterator[FakeSystem]:
    rules = RequestRules(default_policy=default_policy)
    async with fake_system(directory, abouts=abouts(), rules=rules) as system:
        yield system


async def spoken(system: FakeSystem, **fields: object) -> synthesis_pb2.SynthesizeResponse:
    return await system.speech.Synthesize(request("One.", **fields))


async def test_without_a_choice_it_is_the_models_first(tmp_path: Path) -> None:
    async with gateway(tmp_path, "") as system:
        assert (await spoken(system)).utterance.policy == "balanced"
        assert list((await system.models.Get(models_pb2.GetModelRequest())).policies) == [
            "balanced",
            "latency",
            "whole",
        ]


async def test_the_operators_choice_holds_with_its_numbers_and_parameters(tmp_path: Path) -> None:
    async with gateway(tmp_path, "latency") as system:
        answer = await spoken(system)
        opened = system.stages["s2mel"].opens[-1]

        assert answer.utterance.policy == "latency"
        assert opened.policy.first_window_codes == 1
        assert (opened.params["steps"], opened.params["cfg_rate"]) == (4, 0.5)


async def test_models_name_the_operators_choice_first(tmp_path: Path) -> None:
    async with gateway(tmp_path, "latency") as system:
        model = await system.models.Get(models_pb2.GetModelRequest())

        assert list(model.policies) == ["latency", "balanced", "whole"]
        assert [policy.name for policy in model.policy_numbers] == list(model.policies)
        assert dict(model.policy_numbers[0].params) == {"steps": 4, "cfg_rate": 0.5}


WHOLE = stage_pb2.Policy(name="whole", is_whole=True, first_window_codes=2, prompt_seconds=15, params={"steps": 30})


async def test_a_model_may_say_what_its_whole_renders_see(tmp_path: Path) -> None:
    async with fake_system(tmp_path, abouts=abouts([*POLICIES, WHOLE])) as system:
        model = await system.models.Get(models_pb2.GetModelRequest())
        await spoken(system, render=synthesis_pb2.RenderConfig(policy="whole"))
        opened = system.stages["s2mel"].opens[-1]

        assert list(model.policies) == ["balanced", "latency", "whole"]
        assert model.policy_numbers[-1].prompt_seconds == opened.policy.prompt_seconds == 15
        assert opened.params["steps"] == 30


async def test_a_request_has_the_policy_that_it_names(tmp_path: Path) -> None:
    async with gateway(tmp_path, "whole") as system:
        assert (await spoken(system)).utterance.policy == "whole"
        render = synthesis_pb2.RenderConfig(policy="latency", steps=7)
        assert (await spoken(system, render=render)).utterance.policy == "latency"
        assert system.stages["s2mel"].opens[-1].params["steps"] == 7, "what a request sets, its policy does not"


async def test_a_model_without_the_operators_choice_takes_its_first_and_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other models of the same gateway may have that policy: this is no reason to refuse speech."""
    validation._tell_of_missing_policy.cache_clear()
    async with gateway(tmp_path, "swift") as system:
        with capture_logs() as logs:
            answers = [await spoken(system) for _ in range(2)]

        assert [answer.utterance.policy for answer in answers] == ["balanced", "balanced"]
        told = [line for line in logs if line["event"] == "default_policy_missing"]
        assert [(line["policy"], line["used"]) for line in told] == [("swift", "balanced")]
