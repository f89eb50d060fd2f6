"""Each reason of the published table is reached by a request over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.errors_page import published
from services.common.grpc_errors import DOMAIN
from services.common.reasons import Reason
from tests.fakes.system import FakeSystem, fake_system
from tests.reasons import operation, requests, voices, workers  # noqa: F401 - they fill the table
from tests.reasons.table import TABLE, Place

RETRYABLE = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
"""Statuses after which the same request may succeed."""


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path_factory.mktemp("reasons")) as started:
        yield started


def test_the_table_covers_every_reason() -> None:
    assert set(TABLE) == set(Reason)


@pytest.mark.parametrize("reason", TABLE)
async def test_a_request_reaches_the_reason(system: FakeSystem, tmp_path: Path, reason: Reason) -> None:
    row, told = TABLE[reason], published()[reason]
    failure = await row.reach(Place(system, tmp_path))

    assert (failure.reason, failure.domain) == (reason, DOMAIN), failure.message
    assert (failure.status, failure.metadata["category"]) == (told.status, told.category)
    assert failure.message
    assert (failure.metadata.get("field", ""), failure.metadata.get("stage", "")) == (row.field, row.stage)
    assert failure.violations == ((row.field,) if row.field else ())
    assert bool(failure.metadata.get("utterance_id")) == row.is_utterance
    assert failure.metadata["retryable"] == ("true" if told.status in RETRYABLE else "false")
    assert (failure.retry_seconds is not None) == (told.status in RETRYABLE)
    assert failure.retry_seconds is None or failure.retry_seconds > 0
    assert bool(failure.resource) == (told.status == "NOT_FOUND")
    await system.all_free()
