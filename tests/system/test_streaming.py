"""It really streams: read from the order in which chunks passed the gateway."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

from triptych import AsyncClient, Render

from bench.local import LocalSystem
from tests.system.conftest import LONG_TEXT, QUICK

Event = dict[str, object]


def chunk_events(system: LocalSystem, *utterance_ids: str) -> list[Event]:
    """The gateway's log lines of chunks of these utterances, in order."""
    return [event for event in events(system, "frontend", "chunk") if event["utterance_id"] in utterance_ids]


def events(system: LocalSystem, process: str, name: str) -> list[Event]:
    lines = Path(system.processes[process].log).read_text().splitlines()
    parsed = [json.loads(line) for line in lines if f'"{name}"' in line]
    return [event for event in parsed if event["event"] == name]


async def speak(client: AsyncClient, text: str, seed: int, render: Render = QUICK) -> str:
    stream = client.synthesize_stream(text, seed=seed, render=render)
    ids = [chunk.utterance.utterance_id async for chunk in stream if chunk.utterance]
    return ids[0]


async def test_the_first_pcm_leaves_before_the_last_code_of_one_segment(
    client: AsyncClient, system: LocalSystem
) -> None:
    """At the model's own number of steps."""
    utterance = await speak(client, LONG_TEXT, 1, Render())
    passed = chunk_events(system, utterance)
    stages = [event["stage"] for event in passed]

    assert {event["segment"] for event in passed} == {0}
    first_pcm = stages.index("vocoder")
    last_code = len(stages) - 1 - stages[::-1].index("gpt")
    assert first_pcm < last_code
    assert stages.count("s2mel") > 1
    assert stages.count("vocoder") > 1
    codes_after = stages[first_pcm:].count("gpt")
    assert codes_after > 10, "PCM came only with the last codes"


async def test_decode_steps_of_two_utterances_interleave(client: AsyncClient, system: LocalSystem) -> None:
    """They take turns by windows at the latest: neither waits for the other to end."""
    utterances = await asyncio.gather(speak(client, LONG_TEXT, 1), speak(client, LONG_TEXT, 2))
    codes = [event["utterance_id"] for event in chunk_events(system, *utterances) if event["stage"] == "gpt"]
    changes = sum(one != two for one, two in itertools.pairwise(codes))

    assert set(codes) == set(utterances)
    assert changes > 8
