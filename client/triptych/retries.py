"""Waits after a refusal and tries again, within bounds."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from triptych.errors import TtsError

logger = logging.getLogger("triptych")
logger.addHandler(logging.NullHandler())

_JITTER = 0.5
"""At most this share of the wait is added to it, so that clients that were refused together come back one by one."""
_SHORTEST_WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class Retry:
    """A refusal that is waited out."""

    attempt: int
    """The attempt that was refused, from 1."""
    wait_seconds: float
    error: TtsError


@dataclass(frozen=True)
class RetryPolicy:
    """How long a client is patient."""

    retries: int = 3
    """Attempts after the first."""
    max_wait_seconds: float = 30.0
    """Waits of one call together."""
    on_retry: Callable[[Retry], None] | None = None


class Attempts:
    """The attempts of one call and the time that is left for them."""

    def __init__(self, policy: RetryPolicy, timeout_seconds: float | None) -> None:
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout_seconds is None else self._loop.time() + timeout_seconds
        self._refused = 0
        self._waited_seconds = 0.0

    def seconds_left(self) -> float | None:
        """Return what the next attempt may take; None for any time."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    async def pause(self, error: TtsError, stop: asyncio.Event | None = None) -> None:
        """Wait as long as the server asks for, or until `stop`.

        Raises:
            TtsError: `error` itself, if the call is not to be tried again.
        """
        wait_seconds = self._wait_seconds(error)
        if wait_seconds is None:
            raise error
        self._refused += 1
        self._waited_seconds += wait_seconds
        self._report(Retry(self._refused, wait_seconds, error))
        with suppress(TimeoutError):
            await asyncio.wait_for((stop or asyncio.Event()).wait(), wait_seconds)

    def _wait_seconds(self, error: TtsError) -> float | None:
        if not error.is_retryable or error.retry_after_seconds is None or self._refused >= self._policy.retries:
            return None
        asked = max(error.retry_after_seconds, _SHORTEST_WAIT_SECONDS)
        wait_seconds = asked * (1 + _JITTER * random.random())  # noqa: S311 - no secret
        if self._waited_seconds + wait_seconds > self._policy.max_wait_seconds:
            return None
        left = self.seconds_left()
        # What would come back too late is better said now.
        return None if left is not None and wait_seconds >= left else wait_seconds

    def _report(self, retry: Retry) -> None:
        logger.warning(
            "refused with %s; attempt %d of %d follows in %.2f s",
            retry.error.reason or retry.error.status,
            retry.attempt + 1,
            self._policy.retries + 1,
            retry.wait_seconds,
        )
        if self._policy.on_retry:
            self._policy.on_retry(retry)
