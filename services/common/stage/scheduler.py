"""Decides which sessions share the next step. Knows neither gRPC nor a model."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.stage.session import Session


def pick(ready: Sequence[Session], *, max_batch_size: int) -> list[Session]:
    """Take the sessions for the next step: higher priority first, then those served longest ago.

    Borders and numbers never depend on this choice; it only decides who waits.
    """
    return sorted(ready, key=lambda session: (-session.priority, session.last_served))[:max_batch_size]
