"""Moves sessions through the engine: one thread computes, the event loop hands in and out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from services.common import metrics
from services.common.arrays import Array, Tensors
from services.common.errors import DeadlineError, OverloadedError, StageLostError, TtsError
from services.common.stage import scheduler
from services.common.stage.engine import Engine, Output
from services.common.stage.lanes import Lanes
from services.common.stage.listener import Listener
from services.common.stage.session import Chunk, Session

logger = structlog.get_logger(__name__)

Command = Callable[[], None]


class StageLoop:
    """Owns the engine's thread and its sessions.

    Everything that touches the engine is a command, run on the engine's thread between two steps. Steps follow each
    other on that thread until one has something to hand over: small steps then cost no hop to the event loop and back.

    Args:
        engine: What computes.
        max_batch_size: Sessions that share a step, if the engine's own limit is not less.
        batch_window_seconds: How long a step waits for more sessions when fewer are ready than are open.
        ahead_niceness: How far steps that work ahead of their listeners stand back for other processes.
    """

    def __init__(
        self, engine: Engine, *, max_batch_size: int, batch_window_seconds: float = 0.0, ahead_niceness: int = 0
    ) -> None:
        self.engine = engine
        self.steps = 0
        self.is_draining = False
        self._batch_size = min(max_batch_size, engine.batch_limit)
        self._window = scheduler.BatchWindow(batch_window_seconds, max_batch_size=self._batch_size)
        self._sessions: dict[Session, None] = {}
        self._commands: deque[Command] = deque()
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._lanes = Lanes(ahead_niceness)
        self._voice_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voice")
        self._is_dead = False
        self._is_stopped = False
        self._last_batch: list[Session] = []
        stage = engine.spec.stage
        self._step_seconds = metrics.STEP_SECONDS.labels(stage)
        self._batch_sizes = metrics.BATCH_SIZE.labels(stage)

    @property
    def free_slots(self) -> int:
        return self.engine.spec.slots - len(self._sessions)

    def open(self, session: Session) -> None:
        """Take a slot, or refuse at once.

        Raises:
            OverloadedError: All slots are taken.
            StageLostError: The engine is dead.
        """
        self.refuse_if_full()
        self._sessions[session] = None
        session.listener = Listener(scheduler.windows(self.engine.spec.gives, session.policy))
        self._count_slots()
        self._submit(session, lambda: self.engine.open(session))

    def refuse_if_full(self) -> None:
        """Raise what `open` would raise, without taking a slot."""
        if self._is_dead:
            raise StageLostError("the engine died; retry on another worker", stage=self.engine.spec.stage)
        if self.free_slots <= 0:
            slots = self.engine.spec.slots
            raise OverloadedError(f"all {slots} slots of this worker are taken", stage=self.engine.spec.stage)

    def push(self, session: Session, chunk: Chunk) -> None:
        self._submit(session, lambda: self.engine.push(session, chunk))

    def add_credit(self, session: Session, chunks: int) -> None:
        # A command like the others: the engine's thread counts credit down.
        def add() -> None:
            session.credit += chunks

        self._submit(session, add)

    def cancel_segment(self, session: Session, segment: int) -> None:
        def cancel() -> None:
            last = self.engine.cancel_segment(session, segment)
            if last is not None:
                session.listener.drop_held()
                self._event_loop.call_soon_threadsafe(session.outbox.put_nowait, last)

        self._submit(session, cancel)

    def close(self, session: Session) -> None:
        """Give the slot back; what the session holds in the engine goes before the next step."""
        if session not in self._sessions:
            return
        session.is_closed = True
        del self._sessions[session]
        self._count_slots()
        self._commands.append(lambda: self.engine.close(session))
        self._work.set()

    async def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        """Run a voice step beside the engine's own thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._voice_thread, self.engine.encode_voice, step, tensors)

    async def run_forever(self) -> None:
        """Step until the engine raises; a CUDA context does not survive most errors."""
        self._event_loop = asyncio.get_running_loop()
        try:
            while True:
                self._work.clear()
                outputs, is_idle = await self._event_loop.run_in_executor(self._thread, self._turn)
                for session, output in outputs:
                    if not session.is_closed:
                        session.outbox.put_nowait(output)
                self._tell_used()
                if is_idle and not self._commands:
                    await self._wait()
        except Exception:
            self._is_dead = True
            logger.exception("engine_died", stage=self.engine.spec.stage)
            lost = StageLostError("the engine died; retry on another worker", stage=self.engine.spec.stage)
            for session in self._sessions:
                session.outbox.put_nowait(lost)
            raise
        finally:
            self._is_stopped = True

    def _tell_used(self) -> None:
        """Wake the writers of sessions whose callers may send more."""
        for session in self._sessions:
            if session.used != session.told_used:
                session.told_used = session.used
                session.outbox.put_nowait(None)

    async def _wait(self) -> None:
        """Sleep until there is work, or until the next deadline or the batch window passes."""
        ends = [s.deadline for s in self._sessions if s.deadline is not None and not s.has_failed]
        if self._window.until is not None:
            ends.append(self._window.until)
        timeout = max(0.0, min(ends) - time.monotonic()) + 0.001 if ends else None
        try:
            await asyncio.wait_for(self._work.wait(), timeout)
        except TimeoutError:
            return

    def _submit(self, session: Session, command: Command) -> None:
        def guarded() -> None:
            if session.is_closed or session.has_failed:
                return
            try:
                command()
            except TtsError as error:
                session.has_failed = True
                self._event_loop.call_soon_threadsafe(session.outbox.put_nowait, error)

        self._commands.append(guarded)
        self._work.set()

    def _turn(self) -> tuple[list[Output], bool]:
        """One turn on the engine's thread, and whether it ended because there was nothing to do.

        Commands first, then a step for the sessions that are next, and again, until there is something for the event
        loop to hand on.
        """
        while not self._is_stopped:
            while self._commands:
                self._commands.popleft()()
            outputs = self._end_late()
            batch = self._pick()
            if batch:
                outputs += self._step(batch)
            self._last_batch = batch
            for session, output in outputs:
                if isinstance(output, TtsError):
                    session.has_failed = True
            if outputs or not batch or any(s.used != s.told_used for s in list(self._sessions)):
                return outputs, not batch
        return [], True

    def _end_late(self) -> list[Output]:
        late = [session for session in list(self._sessions) if session.is_late and not session.has_failed]
        return [(session, self._late()) for session in late]

    def _pick(self) -> list[Session]:
        """The sessions of the next step; none when nothing is ready, or when the step waits for more."""
        working = [s for s in list(self._sessions) if not (s.is_late or s.has_failed or s.is_closed)]
        ready = [session for session in working if session.credit > 0 and self.engine.is_ready(session)]
        is_going = any(session in self._last_batch for session in ready)
        now = time.monotonic()
        for session in ready:
            session.ready_since = session.ready_since or now
        if self._window.holds(num_ready=len(ready), num_open=len(working), now=now, is_going=is_going):
            return []
        return scheduler.pick(ready, max_batch_size=self._batch_size, now=now)

    def _step(self, batch: list[Session]) -> list[Output]:
        started = time.monotonic()
        try:
            outputs = self._lanes.run(lambda: self.engine.step(batch), is_ahead=scheduler.is_ahead(batch, started))
        except OverloadedError as error:
            # The device had no memory for them together: they go, the others and the process stay.
            logger.warning("step_refused", stage=self.engine.spec.stage, batch_size=len(batch), error=error.message)
            stage, seconds = self.engine.spec.stage, error.retry_after_seconds
            outputs = [
                (session, OverloadedError(error.message, retry_after_seconds=seconds, stage=stage)) for session in batch
            ]
        ended = time.monotonic()
        self.steps += 1
        self._step_seconds.observe(ended - started)
        self._batch_sizes.observe(len(batch))
        for session in batch:
            session.listener.note_step(ended - started)
            session.stats.steps += 1
            session.stats.compute_seconds += (ended - started) / len(batch)
            session.stats.wait_seconds += started - session.last_served
            session.stats.max_batch_size = max(session.stats.max_batch_size, len(batch))
            session.last_served = ended
        for session, output in outputs:
            if isinstance(output, Chunk):
                self._note(session, output, ended)
        return outputs

    def _note(self, session: Session, chunk: Chunk, now: float) -> None:
        session.credit -= 1
        session.stats.items += chunk.length
        if chunk.length or chunk.is_segment_end:
            seconds, stop = self.engine.spec.gives.seconds(chunk.length), chunk.start + chunk.length
            session.listener.note_output(seconds, now, start=chunk.start, stop=stop, is_end=chunk.is_segment_end)

    def _late(self) -> DeadlineError:
        return DeadlineError("the deadline passed while the stage was at work", stage=self.engine.spec.stage)

    def _count_slots(self) -> None:
        metrics.FREE_SLOTS.labels(self.engine.spec.stage).set(self.free_slots)
