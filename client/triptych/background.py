"""An event loop in a thread of its own, for callers that have none or must not wait in theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from triptych.errors import IoError

T = TypeVar("T")


class Background:
    """Runs coroutines for any thread, until it is stopped or nobody holds it any more."""

    def __init__(self) -> None:
        self._thread = _LoopThread()
        # The thread does not know this object, or it would hold it for ever.
        self._stop = weakref.finalize(self, self._thread.stop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for the result of a coroutine; an interrupt of the wait cancels it.

        Raises:
            IoError: if this is stopped before there is one.
        """
        future = self._thread.submit(coroutine)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed() from None
        except BaseException:
            future.cancel()
            raise

    def on_stop(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Await `cleanup` when all that runs has been cancelled."""
        self._thread.cleanup = cleanup

    def stop(self) -> None:
        """Cancel what runs and end the thread; nothing happens the second time."""
        self._stop()


class _LoopThread:
    def __init__(self) -> None:
        self.cleanup: Callable[[], Awaitable[None]] | None = None
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._is_stopped = False
        self._submitting = threading.Lock()
        # A daemon: a program that forgets to close its client still ends.
        self._thread = threading.Thread(target=self._serve, name="triptych", daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from inside of a callback would wait for itself")
        with self._submitting:
            if self._is_stopped:
                coroutine.close()
                raise _closed()
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        with self._submitting:
            self._is_stopped = True
            self._loop.call_soon_threadsafe(self._stopping.set)
        # The garbage collector may call this in any thread.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stopping.wait()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self.cleanup:
            await self.cleanup()


def _closed() -> IoError:
    return IoError("the client is closed")
