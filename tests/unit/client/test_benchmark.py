"""The benchmark, against a fake gateway."""

from __future__ import annotations

import json

import grpc
import pytest
import triptych
from triptych import AsyncClient
from triptych.benchmark import Plan, _Request, count_underruns, load_of, run_benchmark

from tests.command import run
from tests.unit.client.fake_server import REVISION, Context, FakeGateway, refuse


@pytest.mark.parametrize(
    ("arrivals", "underruns"),
    [
        ([(1.0, 0.1), (1.1, 0.1), (1.2, 0.1)], 0),
        ([(1.0, 0.1), (1.15, 0.1)], 1),
        ([(1.0, 0.05), (2.0, 0.05), (2.05, 0.05)], 0),
        ([(1.0, 0.1), (2.0, 0.1), (3.0, 0.1)], 2),
        ([(1.0, 0.1), (9.0, 0.0)], 0),
        ([], 0),
    ],
    ids=["in time", "late", "late before the first sound", "twice late", "late without sound", "nothing"],
)
def test_underruns_follow_from_arrivals(arrivals: list[tuple[float, float]], underruns: int) -> None:
    assert count_underruns(arrivals, prebuffer_seconds=0.1) == underruns


async def test_each_load_is_measured_within_the_time(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 0.01
    heard: list[tuple[int, float]] = []
    plan = Plan(seconds=0.6, streams=(1, 3))
    result = await run_benchmark(client, plan, on_progress=lambda *share: heard.append(share), seed=4)

    assert (result.model, result.model_revision) == ("mini", REVISION)
    assert result.devices == {"gpt": "cpu float32", "s2mel": "cpu float32", "vocoder": "cpu float32"}
    assert 0.3 < result.seconds < 5
    assert {config.seed for config in gateway.configs} == {4}
    assert [streams for streams, _ in heard] == sorted(streams for streams, _ in heard)
    for load, streams in zip(result.loads, (1, 3), strict=True):
        assert load.streams == streams
        assert load.requests >= streams
        assert (load.failed, load.underruns) == (0, 0)
        assert load.cut <= streams
        assert load.first_audio_p50_ms is not None
        assert load.first_audio_p95_ms is not None
        assert 0 < load.first_audio_p50_ms <= load.first_audio_p95_ms
        assert load.real_time_factor is not None
        assert 0 < load.real_time_factor < 1
        assert load.throughput == pytest.approx(load.audio_seconds / load.wall_seconds)
    # Three listeners of a server that waits for most of the time get three times as much.
    assert result.loads[1].throughput > 1.5 * result.loads[0].throughput


def test_a_request_that_was_cut_says_nothing_of_the_speed() -> None:
    finished = _Request(arrivals=[(0.5, 1.0), (0.9, 1.0)], end_seconds=1.0, is_over=True)
    cut = _Request(arrivals=[(0.5, 1.0)], end_seconds=9.0)
    load = load_of(2, [finished, cut], wall_seconds=10.0, prebuffer_seconds=0.1)
    assert (load.real_time_factor, load.cut, load.audio_seconds) == (0.5, 1, 3.0)

    assert load_of(1, [cut], wall_seconds=10.0, prebuffer_seconds=0.1).real_time_factor is None


async def test_refusals_are_counted(client: AsyncClient, gateway: FakeGateway) -> None:
    refused = 0

    async def refusal(context: Context) -> None:
        nonlocal refused
        # The first call is the one that warms up.
        if len(gateway.configs) > 1 and refused < 2:
            refused += 1
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED", category="QOS")

    gateway.refusal = refusal
    result = await run_benchmark(client, Plan(seconds=1, streams=(1,)))
    assert result.loads[0].failed == 2
    assert result.loads[0].audio_seconds > 0


async def test_nothing_heard_is_said(client: AsyncClient, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        if len(gateway.configs) > 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    gateway.refusal = refusal
    (load,) = (await run_benchmark(client, Plan(seconds=0.3, streams=(1,)))).loads
    assert load.failed >= 1
    assert (load.first_audio_p50_ms, load.real_time_factor, load.throughput) == (None, None, 0)


async def test_a_wrong_request_ends_it(client: AsyncClient, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await refuse(context, grpc.StatusCode.NOT_FOUND, "no such model", reason="MODEL_NOT_FOUND", category="MODEL")

    gateway.refusal = refusal
    with pytest.raises(triptych.ModelError, match="no such model"):
        await run_benchmark(client, Plan(seconds=1))


async def test_the_command_prints_a_table_or_json(address: str, gateway: FakeGateway) -> None:
    gateway.chunk_seconds = 0.01
    shown = await run(address, "bench", "--seconds", "0.6", "--streams", "1,2", "--voice", "anna")
    assert shown.code == 0, shown.stderr
    title, header, *rows = shown.stdout.decode().splitlines()
    assert title.startswith("mini, revision ")
    assert header.split()[0] == "STREAMS"
    assert header.split()[-3:] == ["CUT", "UNHEARD", "FAILED"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert {config.voice for config in gateway.configs} == {"anna"}

    answer = json.loads((await run(address, "bench", "--seconds", "0.3", "--streams", "1", "--json")).stdout)
    assert list(answer) == ["model", "model_revision", "devices", "seconds", "loads"]
    assert set(answer["loads"][0]) >= {
        "streams",
        "first_audio_p50_ms",
        "first_audio_p95_ms",
        "real_time_factor",
        "underruns",
        "throughput",
    }


async def test_too_little_time_is_named(address: str, gateway: FakeGateway) -> None:
    async def refusal(context: Context) -> None:
        await gateway.cancelled.wait()

    gateway.refusal = refusal
    outcome = await run(address, "bench", "--seconds", "0.2")
    gateway.cancelled.set()
    assert (outcome.code, outcome.stderr) == (
        1,
        "triptych: the first sentence took longer than 0.2 s: allow more with --seconds\n",
    )
