"""Who may begin and who waits, without a network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from services.common.channels import open_channel
from services.common.errors import OverloadedError, StageLostError
from services.frontend.workers.admission import Admission, Lease
from services.frontend.workers.link import WorkerLink
from services.frontend.workers.topology import Pipeline, Pool
from tests.fakes.stage_worker import describe


@dataclass(eq=False)
class FakeLink:
    """A worker with slots."""

    slots: int
    leased: int = 0
    takes_streams: bool = True

    @property
    def available(self) -> int:
        return self.slots - self.leased


def pipeline(model: str = "fake", /, **slots: int) -> Pipeline:
    pools = tuple(Pool(describe(stage), [FakeLink(count)]) for stage, count in slots.items())  # type: ignore[list-item]
    return Pipeline(model, "r1", pools)


async def acquire(admission: Admission, where: Pipeline, *, priority: int = 0) -> Lease:
    return await admission.acquire(lambda: where, number=admission.new_number(), priority=priority)


async def waiting(admission: Admission, where: Pipeline, *, priority: int = 0) -> asyncio.Task[Lease]:
    depth = admission.queue_depth
    task = asyncio.create_task(acquire(admission, where, priority=priority))
    await admission.changed.until(lambda: admission.queue_depth == depth + 1)
    return task


async def test_slots_of_all_stages_are_taken_together() -> None:
    admission, where = Admission(max_queue=4), pipeline(gpt=2, s2mel=1, vocoder=2)
    lease = await acquire(admission, where)
    second = await waiting(admission, where)

    assert [link.leased for pool in where.pools for link in pool.links] == [1, 1, 1]
    lease.release()
    lease.release()
    await second
    assert [link.leased for pool in where.pools for link in pool.links] == [1, 1, 1]


async def test_first_come_first_served_and_higher_priority_before() -> None:
    admission, where = Admission(max_queue=4), pipeline(gpt=1)
    lease = await acquire(admission, where)
    early, late, urgent = [await waiting(admission, where, priority=priority) for priority in (0, 0, 5)]

    for task in (urgent, early, late):
        assert not task.done()
        lease.release()
        lease = await task


async def test_full_queue_refuses_with_a_hint() -> None:
    admission, where = Admission(max_queue=1), pipeline(gpt=1)
    await acquire(admission, where)
    held = await waiting(admission, where)

    with pytest.raises(OverloadedError) as failure:
        await acquire(admission, where)
    assert failure.value.retry_after_seconds > 0
    assert admission.queue_depth == 1
    held.cancel()


async def test_who_comes_back_is_not_refused_and_keeps_its_place() -> None:
    admission, where = Admission(max_queue=1), pipeline(gpt=1)
    number = admission.new_number()
    lease = await acquire(admission, where)
    held = await waiting(admission, where)
    back = asyncio.create_task(admission.acquire(lambda: where, number=number, is_return=True))
    await admission.changed.until(lambda: admission.queue_depth == 2)

    lease.release()
    (await back).release()
    await held


async def test_worker_that_refused_is_not_chosen_again_at_once() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        link = WorkerLink("127.0.0.1:1", channel, on_change=lambda: None)
        link.about, link.is_up, link.leased = describe("gpt", slots=2), True, 1
        link.note_refusal()
        link.leased -= 1

        assert link.available == 0


async def test_who_leaves_the_queue_takes_nothing() -> None:
    admission, where = Admission(max_queue=4), pipeline(gpt=1)
    lease = await acquire(admission, where)
    gone, next_one = await waiting(admission, where), await waiting(admission, where)
    gone.cancel()
    lease.release()

    await next_one
    assert where.pools[0].links[0].leased == 1


async def test_cancel_in_the_moment_of_the_grant_gives_the_slot_back() -> None:
    admission, where = Admission(max_queue=4), pipeline(gpt=1)
    lease = await acquire(admission, where)
    unlucky = await waiting(admission, where)
    lease.release()
    unlucky.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlucky

    assert where.pools[0].links[0].leased == 0


async def test_stage_without_a_worker_is_said_at_once_also_to_those_who_wait() -> None:
    admission, where = Admission(max_queue=4), pipeline(gpt=1)
    lease = await acquire(admission, where)
    held = await waiting(admission, where)
    where.pools[0].links[0].__dict__["takes_streams"] = False
    admission.dispatch()

    with pytest.raises(StageLostError, match="gpt"):
        await held
    with pytest.raises(StageLostError, match="gpt"):
        await acquire(admission, where)
    lease.release()


async def test_least_loaded_worker_is_taken() -> None:
    small, large = FakeLink(1), FakeLink(3)
    where = Pipeline("fake", "r1", (Pool(describe("gpt"), [small, large]),))  # type: ignore[list-item]
    admission = Admission(max_queue=4)
    for _ in range(3):
        await acquire(admission, where)

    assert (small.leased, large.leased) == (1, 2)


async def test_one_models_queue_is_not_anothers() -> None:
    admission, busy, idle = Admission(max_queue=1), pipeline("busy", gpt=1), pipeline("idle", gpt=1)
    await acquire(admission, busy)
    held = await waiting(admission, busy)

    lease = await acquire(admission, idle)
    other = await waiting(admission, idle)
    with pytest.raises(OverloadedError):
        await acquire(admission, idle)
    lease.release()
    await other
    assert not held.done()
    held.cancel()
