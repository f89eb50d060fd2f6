"""One run: every load under every setting, the settings in turn."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from triptych import AsyncClient

from bench.load.call import Call
from bench.load.lateness import Lateness, watched
from bench.load.loads import Caller, Load, Pace
from bench.load.setting import Conditions, Setting, conditions, facts_of
from bench.load.summary import is_smooth
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
    """How many listeners at once, fewest first."""
    paces: Sequence[Pace]
    """How they ask, one pace after the other."""
    stream_seconds: float
    """How long each number of listeners lasts."""
    climb_seconds: float
    """How long all numbers of listeners of a pace may last under each setting; the first is measured all the same."""
    rates: Sequence[float]
    """Requests per second of the open loop."""
    rate_seconds: float
    """How long each rate lasts."""
    seed: int


@dataclass
class Results:
    """What was got under one setting."""

    setting: Setting
    conditions: Conditions
    calls: Sequence[Call] = ()
    lengths: dict[int, list[Call]] = field(default_factory=dict)
    streams: dict[Pace, dict[int, Load]] = field(default_factory=dict)
    rates: dict[float, Load] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What was got in all."""

    model: str
    stages: Sequence[str]
    """Of the model, first to last."""
    results: Sequence[Results]
    lateness: Lateness = field(default_factory=Lateness)
    """Of this process, which saw it all."""


async def measure(measured: Measured, plan: Plan, settings: Sequence[Setting]) -> Run:
    """Put a system under every load of a plan.

    Raises:
        TtsError: The first call under a setting fails.
    """
    async with AsyncClient(measured.address, retries=0) as client:
        model = await client.model()
        facts = facts_of(model)
        results = [Results(setting, conditions(setting, model.policies, facts)) for setting in settings]
        caller = Caller(client, seed=plan.seed, meter=measured.cpu_seconds)
        for setting in settings:
            await caller.warm_up(setting)
        measured.begin()
        async with watched() as lateness:
            await _one_at_a_time(caller, plan, results)
            await _at_once(caller, plan, results)
        return Run(model.name, list(dict.fromkeys(stage.name for stage in model.stages)), results, lateness)


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
    if plan.streams:
        for pace in plan.paces:
            await climb(caller, plan, results, pace)
    for rate in plan.rates:
        for each in results:
            _say(f"{rate:g} requests per second for {plan.rate_seconds:g} s, {each.setting.label}")
            each.rates[rate] = await caller.arrivals(rate, plan.rate_seconds, each.setting)


async def climb(caller: Caller, plan: Plan, results: Sequence[Results], pace: Pace) -> None:
    """Have more and more listeners at once, for as long as the plan's time allows.

    Listeners who hear gaps already are not joined by more: no larger number could count. Those of a saturated system
    are, for its throughput is asked for too.
    """
    ends = monotonic() + plan.climb_seconds * len(results)
    climbing = list(results)
    for number, count in enumerate(sorted(plan.streams)):
        if number and monotonic() + plan.stream_seconds * len(climbing) > ends:
            _say(f"{count} streams, {pace.value}: the time for numbers of streams is over")
            return
        for each in climbing:
            _say(f"{count} streams for {plan.stream_seconds:g} s, {pace.value}, {each.setting.label}")
            load = await caller.streams(count, plan.stream_seconds, each.setting, pace)
            each.streams.setdefault(pace, {})[count] = load
        if pace is Pace.HEARD:
            climbing = [each for each in climbing if is_smooth(each.streams[pace][count])]
        if not climbing:
            return


def _say(what: str) -> None:
    print(what, file=sys.stderr)
