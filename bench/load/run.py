"""One run: every load under every setting, the settings in turn."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triptych import AsyncClient

from bench.load.call import Call
from bench.load.loads import Caller, Load, Pace
from bench.load.setting import Conditions, Setting, conditions
from bench.load.system import Measured
from bench.load.texts import SENTENCES, passage


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    calls: int
    """One after the other, of single sentences."""
    lengths: Mapping[int, int]
    """How many calls of a text of so many characters."""
    streams: Sequence[int]
    """How many listeners at once."""
    rates: Sequence[float]
    """Requests per second of the open loop."""
    seconds: float
    """How long each number of listeners and each rate lasts."""
    pace: Pace
    seed: int


@dataclass
class Results:
    """What was got under one setting."""

    setting: Setting
    conditions: Conditions
    calls: Sequence[Call] = ()
    lengths: dict[int, list[Call]] = field(default_factory=dict)
    streams: dict[int, Load] = field(default_factory=dict)
    rates: dict[float, Load] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What was got in all."""

    model: str
    stages: Sequence[str]
    """Of the model, first to last."""
    results: Sequence[Results]


async def measure(measured: Measured, plan: Plan, settings: Sequence[Setting]) -> Run:
    """Put a system under every load of a plan.

    Raises:
        TtsError: The first call under a setting fails.
    """
    async with AsyncClient(measured.address, retries=0) as client:
        model = await client.model()
        facts = measured.policy_facts()
        results = [Results(setting, conditions(setting, model.policies, facts)) for setting in settings]
        caller = Caller(client, seed=plan.seed, meter=measured.cpu_seconds)
        for setting in settings:
            await caller.warm_up(setting)
        measured.begin()
        await _one_at_a_time(caller, plan, results)
        await _at_once(caller, plan, results)
        return Run(model.name, list(dict.fromkeys(stage.name for stage in model.stages)), results)


async def _one_at_a_time(caller: Caller, plan: Plan, results: Sequence[Results]) -> None:
    settings = [each.setting for each in results]
    _say(f"{plan.calls} calls one after the other")
    texts = list(itertools.islice(itertools.cycle(SENTENCES), plan.calls))
    for each, calls in zip(results, await caller.in_turn(texts, settings), strict=True):
        each.calls = calls
    for characters, count in plan.lengths.items():
        _say(f"{count} calls of {characters} characters")
        found = await caller.in_turn([passage(characters)] * count, settings)
        for each, calls in zip(results, found, strict=True):
            each.lengths[characters] = calls


async def _at_once(caller: Caller, plan: Plan, results: Sequence[Results]) -> None:
    for count in plan.streams:
        for each in results:
            _say(f"{count} streams for {plan.seconds:g} s, {each.setting.label}")
            each.streams[count] = await caller.streams(count, plan.seconds, each.setting, plan.pace)
    for rate in plan.rates:
        for each in results:
            _say(f"{rate:g} requests per second for {plan.seconds:g} s, {each.setting.label}")
            each.rates[rate] = await caller.arrivals(rate, plan.seconds, each.setting)


def _say(what: str) -> None:
    print(what, file=sys.stderr)
