"""What a shell completes."""

from __future__ import annotations

import asyncio

import pytest
from triptych import AsyncClient

from tests.command import Outcome, run
from tests.unit.client.fake_server import FakeGateway


async def complete(address: str, line: str, **environment: str) -> list[str]:
    """Return what bash would be offered after `line`, as ``kind,value``."""
    words = line.split(" ")
    asked = {"_TRIPTYCH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    outcome = await run(address, environment=asked | environment)
    assert outcome.stderr == ""
    return outcome.stdout.decode().split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_each_shell_has_a_script(shell: str) -> None:
    outcome = await run("127.0.0.1:1", "completion", shell)
    assert outcome.code == 0
    assert f"_TRIPTYCH_COMPLETE={shell}_complete" in outcome.stdout.decode()


async def test_bash_takes_its_script(tmp_path_factory: pytest.TempPathFactory) -> None:
    outcome: Outcome = await run("127.0.0.1:1", "completion", "bash")
    check = await asyncio.create_subprocess_exec("bash", "-n", "-c", outcome.stdout.decode())
    assert await check.wait() == 0


async def test_commands_and_options_complete(address: str) -> None:
    assert await complete(address, "triptych mo") == ["plain,models"]
    assert await complete(address, "triptych say --dry") == ["plain,--dry-run"]
    assert await complete(address, "triptych say --encoding mu") == ["plain,mulaw"]


async def test_names_complete_from_the_server(address: str, gateway: FakeGateway, client: AsyncClient) -> None:
    for name in ("anna", "anton", "bert"):
        await client.voices.create(name, b"RIFF" + name.encode())
    assert await complete(address, "triptych say --voice an") == ["plain,anna", "plain,anton"]
    assert await complete(address, "triptych voices show b") == ["plain,bert"]
    assert await complete(address, "triptych say --voice ./an") == ["file,./an"]
    assert await complete(address, "triptych say --model m") == ["plain,mini"]
    assert await complete(address, "triptych say --no-rule ") == ["plain,numbers"]


async def test_no_server_is_no_message() -> None:
    assert await complete("127.0.0.1:1", "triptych voices show a") == []
    assert await complete("127.0.0.1:1", "triptych voices show a", TRIPTYCH_TOKEN_FILE="/no/such/file") == []
