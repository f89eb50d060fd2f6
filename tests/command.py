"""The command, run as users run it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass

MAIN = "from triptych.commands import main; main()"


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: bytes
    stderr: str


async def start(
    address: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    before: str = "",
    stdout: int = PIPE,
) -> Process:
    """Start `triptych`; `before` is Python that its process runs first."""
    variables = os.environ | {"TRIPTYCH_ADDRESS": address, "COLUMNS": "300"} | (environment or {})
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{before}\n{MAIN}", *arguments), stdin=PIPE, stdout=stdout, stderr=PIPE, env=variables
    )


async def run(
    address: str,
    *arguments: str,
    stdin: bytes = b"",
    environment: dict[str, str] | None = None,
    before: str = "",
) -> Outcome:
    process = await start(address, *arguments, environment=environment, before=before)
    stdout, stderr = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return Outcome(process.returncode, stdout, stderr.decode())
