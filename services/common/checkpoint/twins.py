"""A `.safetensors` twin of a pickled weight file: the same tensors, flat, in a format that can be mapped.

The twin of `gpt.pth` is `gpt.safetensors` beside it. Names of nested sections are joined by dots, so that
`s2mel.pth`'s ["net"]["cfm"]["x"] is `net.cfm.x`; a level called "model" that only wraps the others is left
out; a file that holds one bare tensor calls it `tensor`. `python -m services.common.twin DIR` writes twins.
Imports no torch and no safetensors: the vocoder worker has neither.
"""

from __future__ import annotations

import json
from pathlib import Path

PICKLED = (".pth", ".pt", ".bin")

BARE_TENSOR = "tensor"
"""What the twin of a file without names calls its tensor."""

SOURCE_SHA256 = "source_sha256"
"""Key of a twin's metadata: the digest of the file that it was made from."""

_MAX_HEADER_BYTES = 100_000_000


def twin_of(path: Path) -> Path:
    """Where the twin of a pickled weight file is, or would be."""
    return path.with_suffix(".safetensors")


def preferred(path: Path) -> Path:
    """The twin if there is one; what is asked for otherwise."""
    if path.suffix in PICKLED and twin_of(path).is_file():
        return twin_of(path)
    return path


def source_sha256(path: Path) -> str:
    """The digest of the file that a twin was made from, as the twin says; empty when it says nothing."""
    if path.suffix != ".safetensors":
        return ""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= _MAX_HEADER_BYTES else {}
        metadata = header.get("__metadata__", {})
        return str(metadata.get(SOURCE_SHA256, ""))
    except (OSError, ValueError, AttributeError):
        # Whoever reads the tensors says what is wrong with the file.
        return ""
