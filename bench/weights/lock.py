"""The files to have, and the lock file that pins them: commits and checksums."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from bench.weights.errors import WeightsError

LOCK_NAME = "weights.lock.json"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """One file to have: where it comes from, where it goes and what it must be."""

    repository: str
    revision: str
    path: str
    target: str
    size: int
    sha256: str
    """Empty until the file was fetched, where the hub knows only a git checksum."""
    git_sha1: str = ""


def is_right(path: Path, file: File) -> bool:
    """Whether a file has the size and the checksum that it must have."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return sha256(path) == file.sha256
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.git_sha1


def read_lock(path: Path) -> list[File]:
    """Raise WeightsError when the lock file is damaged, or names a place outside the directory."""
    try:
        entries = json.loads(path.read_text("utf-8"))["files"]
        files = [File(**entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: {error}; remove it to take the newest commits") from None
    for file in files:
        if PurePosixPath(file.target).is_absolute() or ".." in PurePosixPath(file.target).parts:
            raise WeightsError(f"{path}: {file.target} lies outside the directory")
    return files


def write_lock(path: Path, files: list[File]) -> None:
    content = {"files": [asdict(file) for file in sorted(files, key=lambda file: file.target)]}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
