"""The hub: its licences, its newest commits, its files."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.weights.errors import WeightsError, first_line
from bench.weights.lock import File, is_right, sha256
from bench.weights.sources import MODEL, SOURCES, TERMS, TEXT_EMOTION

_PAUSES_SECONDS = (1, 3, 10)


def ask_for_acceptance(api: Any) -> None:
    """Show every licence and wait for a yes."""
    print(TERMS)
    texts = [name for name in api.list_repo_files(MODEL) if _is_licence(name)]
    for name in texts:
        path = Path(api.hf_hub_download(MODEL, name))
        print(f"\n----- {MODEL}/{name} -----\n{path.read_text('utf-8', errors='replace')}")
    if not texts:
        print(f"  (the repository has no licence file; see {api.endpoint}/{MODEL})")
    print("The other parts:")
    for source in SOURCES[1:]:
        print(f"  {source.repository}: {source.licence}")
    if not sys.stdin.isatty():
        raise WeightsError("no terminal to ask on: accept with --accept-licence (ACCEPT=yes for make)")
    if input("Do you accept these terms? [yes/no] ").strip().lower() != "yes":
        raise WeightsError("not accepted; nothing was fetched")


def _is_licence(name: str) -> bool:
    return "/" not in name and ("LICENSE" in name.upper() or "LICENCE" in name.upper())


def resolve(api: Any, *, has_text_emotion: bool) -> Iterator[File]:
    """Ask the hub for the newest commits and the sizes and checksums of their files."""
    for source in (*SOURCES, TEXT_EMOTION) if has_text_emotion else SOURCES:
        revision = api.model_info(source.repository, revision="main").sha
        entries = {
            entry.path: entry
            for entry in api.list_repo_tree(source.repository, revision=revision, recursive=True)
            if hasattr(entry, "blob_id")
        }
        for path, target in (*source.files, *source.optional):
            found = [name for name in entries if name == path or (path.endswith("/") and name.startswith(path))]
            if not found and (path, target) in source.files:
                raise WeightsError(f"{source.repository} has no {path} at commit {revision}")
            for name in found:
                entry = entries[name]
                yield File(
                    repository=source.repository,
                    revision=revision,
                    path=name,
                    target=target + name.removeprefix(path),
                    size=entry.size,
                    sha256=entry.lfs.sha256 if entry.lfs else "",
                    git_sha1="" if entry.lfs else entry.blob_id,
                )


def fetch_one(directory: Path, file: File) -> File:
    """Bring one file into `directory` and return it with its SHA-256."""
    # A damaged file in the cache is removed and fetched once more.
    for _ in range(2):
        cached = _download(file)
        if is_right(cached, file):
            break
        cached.unlink()
    else:
        raise WeightsError(f"{file.repository} {file.path} has not the checksum that the hub announced")
    target = directory / file.target
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(cached, target)
    except OSError:
        # Another file system than the cache's.
        part = target.with_name(target.name + ".part")
        shutil.copyfile(cached, part)
        part.replace(target)
    return File(**asdict(file) | {"sha256": sha256(target)})


def _download(file: File) -> Path:
    """Bring one file into the cache; a connection that breaks is taken up where it broke."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from requests.exceptions import ChunkedEncodingError, ConnectionError  # noqa: A004, PLC0415

    for pause_seconds in (*_PAUSES_SECONDS, None):
        try:
            return Path(hf_hub_download(file.repository, file.path, revision=file.revision)).resolve()
        except (ChunkedEncodingError, ConnectionError) as error:
            if pause_seconds is None:
                raise
            print(f"  {first_line(error)}; going on in {pause_seconds} s")
            time.sleep(pause_seconds)
    raise AssertionError("unreachable")
