"""Work that must go on beside the calls."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from services.frontend.background import keep_running


class Breaking:
    """Breaks a few times, then works."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.begun = 0
        self.is_working = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self.failures:
            raise RuntimeError("the caller's own words")
        self.is_working.set()
        await asyncio.Event().wait()


async def test_work_that_breaks_is_told_of_and_begins_again() -> None:
    work = Breaking(failures=2)
    with capture_logs() as lines:
        task = asyncio.create_task(keep_running("voices", work.run, pause_seconds=0))
        async with asyncio.timeout(5):
            await work.is_working.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert work.begun == 3
    assert [(line["event"], line["work"], line["error"]) for line in lines] == [
        ("background_work_broke", "voices", "RuntimeError")
    ] * 2
    assert "test_background.py" in lines[0]["exception"]
    assert "own words" not in str(lines)


async def test_work_that_is_done_is_not_begun_again() -> None:
    done: list[bool] = []

    async def run() -> None:
        done.append(True)

    async with asyncio.timeout(5):
        await keep_running("voices", run, pause_seconds=0)

    assert done == [True]
