"""Files that are there wholly or not at all, and what is said when the disk will not have them."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.errors import TtsError
from services.common.reasons import Reason

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(path: Path, data: bytes) -> None:
    """Write a file; raises TtsError with reason STORE_FAILED and leaves what was there when that fails."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when all has gone well.

    Raises:
        TtsError: The disk is full or cannot be written, with reason STORE_FAILED.
    """
    with store_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def store_errors() -> Iterator[None]:
    """Say what happened to the disk in the project's own words."""
    try:
        yield
    except OSError as error:
        why = ": its disk is full" if error.errno in _FULL else ""
        raise TtsError(f"the store of voices cannot be written{why}", reason=Reason.STORE_FAILED) from error
