"""The digest that says which checkpoint, in which numeric mode, decides codes and samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

from services.common.checkpoint.files import CheckpointFiles

_NOT_PART_OF_REVISION = ("directory", "vocoder_manifest")


def revision(directory: Path | str, numeric_mode: str, policy: Mapping[str, object]) -> str:
    """Digest of what decides codes and samples: files, numeric mode and policy table.

    Two processes with equal revisions may take over each other's streams, and stages make a pipeline
    only with stages of an equal revision. The text-to-emotion model counts wherever its folder is there: the same
    description must give the same emotion, so the folder is in every worker's checkpoint or in none.
    Files are hashed by content, once per process unless size or time of change differ. Of a pickle and its
    `.safetensors` twin the one that is read counts, so a directory with twins has another revision than one without.

    Args:
        directory: The checkpoint.
        numeric_mode: What the setting `dtype` means, such as ``bfloat16``: one word for the whole
            pipeline, also in stages that have no such arithmetic. What a stage really computes in is
            said by `DeviceInfo.dtype`.
        policy: The checkpoint's policy table, the default policy first.

    Returns:
        16 hex digits.
    """
    files = CheckpointFiles.locate(directory)
    digest = hashlib.sha256()
    for name, path in _parts(files):
        status = path.stat()
        content = _content_digest(path, status.st_size, status.st_mtime_ns)
        digest.update(f"{name}={content}\n".encode())
    # As a list, since the first policy is the default; the order inside a policy means nothing.
    table = json.dumps(list(policy.items()), sort_keys=True, separators=(",", ":"))
    digest.update(f"numeric={numeric_mode}\npolicy={table}\n".encode())
    return digest.hexdigest()[:16]


def _parts(files: CheckpointFiles) -> Iterator[tuple[str, Path]]:
    """What is there of the files that decide, each under a name that no directory changes."""
    for field in fields(files):
        path: Path = getattr(files, field.name)
        if field.name not in _NOT_PART_OF_REVISION and path.is_file():
            yield field.name, path
    for path in sorted(files.qwen.rglob("*")):
        name = path.relative_to(files.qwen)
        # Downloads keep notes of their own in hidden folders.
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield f"qwen/{name.as_posix()}", path


@lru_cache(maxsize=256)
def _content_digest(path: Path, _size: int, _modified_ns: int) -> str:
    """Hash a file; its size and time only make a changed file another cache entry."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
