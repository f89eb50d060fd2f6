"""Where the text of `triptych say` comes from."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import click

_READ_BYTES = 4096
_PIECE_CHARACTERS = 2000


def read_text(text: str | None, file: str | None) -> str | None:
    """Return the text to speak; None means that standard input is to be read as it comes."""
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if text is not None:
        return text
    if file is not None and file != "-":
        try:
            return Path(file).read_text("utf-8-sig")
        except OSError as error:
            raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise click.UsageError(f"{file} is not UTF-8 text") from None
    if file is None and sys.stdin.isatty():
        raise click.UsageError("nothing to say: give TEXT, --file FILE, or pipe text in")
    return None


async def pieces_of(text: str) -> AsyncIterator[str]:
    """Cut a long text into messages; the server joins them as they are."""
    for start in range(0, len(text), _PIECE_CHARACTERS):
        yield text[start : start + _PIECE_CHARACTERS]


async def pieces_of_stdin() -> AsyncIterator[str]:
    """Yield standard input as it arrives."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)

    def read() -> None:
        # Straight from the descriptor: a buffered read holds a lock that the interpreter wants at exit.
        while data := os.read(0, _READ_BYTES):
            asyncio.run_coroutine_threadsafe(arrived.put(data), loop).result()
        asyncio.run_coroutine_threadsafe(arrived.put(b""), loop).result()

    # A daemon, because a read of a terminal or a pipe cannot be interrupted.
    threading.Thread(target=read, daemon=True).start()
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while data := await arrived.get():
            if piece := decoder.decode(data):
                yield piece
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise click.UsageError("standard input is not UTF-8 text") from None
