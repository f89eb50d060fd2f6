"""The life of a real worker process, around an engine that only counts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from structlog.testing import capture_logs

from bench.local.system import free_addresses
from protos.tts.stages.v1 import stage_pb2_grpc
from services.common.errors import OverloadedError
from services.common.stage.worker import run_worker
from tests.unit.stage.counting_engine import FATAL, CountingEngine
from tests.unit.stage.counting_worker import CountingSettings
from tests.unit.stage.test_servicer import Stream


@asynccontextmanager
async def process() -> AsyncIterator[tuple[asyncio.subprocess.Process, stage_pb2_grpc.StageAsyncStub]]:
    [address] = free_addresses(1)
    command = [sys.executable, "-m", "tests.unit.stage.counting_worker", "--address", address, "--settle-seconds", "0"]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            async with asyncio.timeout(30):
                await channel.channel_ready()
            yield worker, stage_pb2_grpc.StageStub(channel)
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


class _Remote:
    """What `Stream` needs of a worker."""

    def __init__(self, stub: stage_pb2_grpc.StageAsyncStub) -> None:
        self.stub = stub
        self.engine = CountingEngine()


async def test_a_dead_engine_ends_the_process_after_its_callers_heard_of_it() -> None:
    async with process() as (worker, stub):
        stream = await Stream(_Remote(stub)).open()  # type: ignore[arg-type]
        await stream.send([FATAL], end=True)
        code, _ = await stream.failure()

        assert code == grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(worker.wait(), 20) == 1


async def test_sigterm_waits_for_running_streams_and_exits_with_0() -> None:
    async with process() as (worker, stub):
        stream = await Stream(_Remote(stub)).open()  # type: ignore[arg-type]
        await stream.send([1])
        await stream.chunk()
        worker.send_signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(worker.wait())), 0.3)
        await stream.send([2], start=1, end=True)
        await stream.end()

        assert (await stream.rest())[0] == [4]
        assert await asyncio.wait_for(worker.wait(), 20) == 0


async def test_a_wrong_setting_stops_the_start_with_one_screen() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.vocoder_worker",
        env={"TTS_VOCODER_SLOTZ": "3"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await worker.communicate()

    assert worker.returncode == 2
    assert b"TTS_VOCODER_SLOTS" in errors


def test_a_device_too_small_to_warm_up_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit code 1 and no traceback, as every start that cannot be."""

    class FullDevice(CountingEngine):
        def warm_up(self) -> None:
            raise OverloadedError("the GPU has no memory left for this step", stage="counting")

    monkeypatch.setattr("services.common.logs.configure", lambda *arguments: None)
    settings = CountingSettings(metrics_port=0, address=free_addresses(1)[0])
    with capture_logs() as lines:
        assert run_worker("counting", settings, FullDevice) == 1

    [refused] = [line for line in lines if line["event"] == "checkpoint_refused"]
    assert refused["error"].startswith("cannot warm up: the GPU has no memory left")
    assert refused["error"].endswith(
        "raise gpu_memory_mb where it is the limit, or choose fewer slots or a smaller max_batch_size"
    )
