"""Gateways over several families."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.families.system import Families, families


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Families]:
    """Shared by the tests of a file, which leave it as it was."""
    async with families(tmp_path_factory.mktemp("families")) as started:
        yield started
