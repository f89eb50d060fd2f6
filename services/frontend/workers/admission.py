"""Who may begin now and who waits: the only queue in front of the workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from services.common.errors import OverloadedError, TtsError
from services.frontend.wakeup import Wakeup
from services.frontend.workers.link import WorkerLink
from services.frontend.workers.topology import Pipeline

Resolve = Callable[[], Pipeline]

FIRST_GUESS_SECONDS = 1.0
"""How long slots are held, until some have been given back."""


@dataclass(eq=False)
class Lease:
    """One slot of every stage of a pipeline; `release` gives them all back."""

    pipeline: Pipeline
    links: tuple[WorkerLink, ...]
    on_release: Callable[[Lease], None]
    taken: float = field(default_factory=time.monotonic)
    _is_released: bool = False

    def release(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        for link in self.links:
            link.leased -= 1
        self.on_release(self)


@dataclass(eq=False)
class _Ticket:
    model: str
    resolve: Resolve
    priority: int
    number: int
    lease: asyncio.Future[Lease]

    @property
    def rank(self) -> tuple[int, int]:
        return (-self.priority, self.number)


class Admission:
    """Higher priority first, then first come, first served; who comes for the first time finds at most `max_queue`.

    Each model has a queue of its own: who waits for one model's workers holds up nobody who wants another's.
    A ticket is placed when every stage has a slot, and then takes all of them together, so that no two
    utterances can hold what the other waits for.
    """

    def __init__(self, *, max_queue: int) -> None:
        self.max_queue = max_queue
        self._waiting: list[_Ticket] = []
        self._numbers = count()
        self._hold_seconds: dict[str, float] = {}
        self.changed = Wakeup()

    @property
    def queue_depth(self) -> int:
        """Tickets that wait, of all models."""
        return len(self._waiting)

    def new_number(self) -> int:
        """A place in the order of arrival; an utterance that comes again keeps its own."""
        return next(self._numbers)

    async def acquire(self, resolve: Resolve, *, number: int, priority: int = 0, is_return: bool = False) -> Lease:
        """Wait for one slot of every stage.

        Args:
            resolve: Gives the pipeline as it is now; it may change while waiting.
            number: From `new_number`.
            priority: Higher is served first.
            is_return: The utterance had slots before: it is not refused in the middle of its speech.

        Raises:
            OverloadedError: The queue is full.
            StageLostError: A stage has no worker.
        """
        ticket = _Ticket(resolve().model, resolve, priority, number, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._waiting.sort(key=lambda each: each.rank)
        self.dispatch()
        self.changed.notify()
        try:
            if not is_return and not ticket.lease.done() and self._depth(ticket.model) > self.max_queue:
                raise self._overloaded(ticket)
            return await ticket.lease
        except asyncio.CancelledError:
            if ticket.lease.done() and not ticket.lease.cancelled() and ticket.lease.exception() is None:
                ticket.lease.result().release()
            raise
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self.changed.notify()

    def dispatch(self) -> None:
        """Place whom there is room for; called when slots or workers have changed."""
        blocked: set[tuple[str, str]] = set()
        for ticket in list(self._waiting):
            if ticket.lease.done():
                continue
            try:
                pipeline = ticket.resolve()
                key = (pipeline.model, pipeline.revision)
                lease = None if key in blocked else self._place(pipeline)
            except TtsError as error:
                ticket.lease.set_exception(error)
                self._waiting.remove(ticket)
                continue
            if lease is None:
                # Nobody overtakes who waits for the same workers.
                blocked.add(key)
            else:
                ticket.lease.set_result(lease)
                self._waiting.remove(ticket)

    def _place(self, pipeline: Pipeline) -> Lease | None:
        links = tuple(pool.least_loaded() for pool in pipeline.pools)
        if any(link.available <= 0 for link in links):
            return None
        for link in links:
            link.leased += 1
        return Lease(pipeline, links, self._on_release)

    def _on_release(self, lease: Lease) -> None:
        model, held = lease.pipeline.model, time.monotonic() - lease.taken
        before = self._hold_seconds.get(model, FIRST_GUESS_SECONDS)
        self._hold_seconds[model] = before + 0.2 * (held - before)
        self.dispatch()
        self.changed.notify()

    def _depth(self, model: str) -> int:
        return sum(ticket.model == model for ticket in self._waiting)

    def _overloaded(self, ticket: _Ticket) -> OverloadedError:
        slots = max(min(pool.slots for pool in ticket.resolve().pools), 1)
        wait = self._hold_seconds.get(ticket.model, FIRST_GUESS_SECONDS) * self._depth(ticket.model) / slots
        return OverloadedError(
            f"all slots are taken and {self.max_queue} utterances wait already",
            retry_after_seconds=min(max(round(wait, 1), 0.1), 30.0),
        )
