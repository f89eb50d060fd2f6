"""A recording's features on disk, one file for each key."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import structlog

from services.common.arrays import Tensors
from services.frontend.voices import whole_files

logger = structlog.get_logger(__name__)

WORD = re.compile(r"[A-Za-z0-9._-]{1,200}")


def feature_key(revision: str, transcript: str = "") -> str:
    """What features depend on besides the recording: the model revision and, for some models, the transcript."""
    return f"{revision}-{_digest(transcript)}" if transcript else revision


def read(folder: Path, key: str) -> Tensors | None:
    """The features that were kept under this key, unless there are none or they are damaged."""
    try:
        with np.load(_path(folder, key), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        logger.warning("features_damaged", voice_id=folder.name, error=type(error).__name__)
        return None


def write(folder: Path, key: str, features: Mapping[str, object]) -> None:
    with whole_files.replacing(_path(folder, key)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **features)  # type: ignore[arg-type]


def remove(folder: Path, transcript: str) -> None:
    """Remove what was made with a transcript; what cannot be removed is only room on the disk."""
    for path in folder.glob(f"features-*-{_digest(transcript)}.npz"):
        path.unlink(missing_ok=True)


def _digest(transcript: str) -> str:
    return hashlib.sha256(transcript.encode()).hexdigest()[:32]


def _path(folder: Path, key: str) -> Path:
    # A part of the key comes from a worker: it is part of a path only when it is a plain word.
    word = key if WORD.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()
    return folder / f"features-{word}.npz"
