"""A fresh fake gateway for each test, with a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from triptych import AsyncClient
from triptych.connection import ADDRESS_VARIABLE, CA_VARIABLE, TOKEN_FILE_VARIABLE

from tests.unit.client import fake_server


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of them."""
    for name in (ADDRESS_VARIABLE, CA_VARIABLE, TOKEN_FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest_asyncio.fixture
async def gateway() -> fake_server.FakeGateway:
    return fake_server.FakeGateway()


@pytest_asyncio.fixture
async def address(gateway: fake_server.FakeGateway) -> AsyncIterator[str]:
    server, address = await fake_server.start(gateway)
    yield address
    await server.stop(None)


@pytest_asyncio.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address, timeout=10) as client:
        yield client


@pytest_asyncio.fixture
async def recording(tmp_path: Path) -> Path:
    path = tmp_path / "me.wav"
    path.write_bytes(b"RIFF" + bytes(range(256)) * 1000)
    return path
