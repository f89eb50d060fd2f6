"""`python -m services.common.twin CHECKPOINT_DIR`: write the `.safetensors` twin of every pickled weight file.

A twin is read instead of its pickle and is memory-mapped. It keeps the types of the tensors, so half precision stays
half on the disk. `services.common.checkpoint.twins` says how names are made.
"""

from __future__ import annotations

import argparse
import hashlib
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.checkpoint.twins import BARE_TENSOR, PICKLED, SOURCE_SHA256, twin_of
from services.common.weights import load_weights


def write_twin(source: Path) -> Path:
    """Write the twin of one pickled file beside it and give its path.

    Raises:
        CheckpointError: the file is damaged, holds code, or anything that is no tensor.
    """
    content = load_weights(source)
    tensors = dict(_flat(content)) if isinstance(content, dict) else {BARE_TENSOR: content}
    others = sorted(name for name, value in tensors.items() if not isinstance(value, Tensor))
    if others:
        raise CheckpointError(f"{source}: expected tensors only, but these are none: {', '.join(others)}")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    twin = twin_of(source)
    beside = twin.with_name(twin.name + ".part")
    save_file(_apart(tensors), beside, metadata={SOURCE_SHA256: digest})
    # The library lets only the owner read; whoever may read the pickle may read its twin.
    beside.chmod(stat.S_IMODE(source.stat().st_mode))
    beside.replace(twin)
    return twin


def write_twins(directory: Path) -> Iterator[Path]:
    """Write the twin of each pickled weight file that a checkpoint has, one at a time."""
    files = CheckpointFiles.locate(directory, prefers_twins=False)
    for field in fields(files):
        path: Path = getattr(files, field.name)
        if path.suffix in PICKLED and path.is_file():
            yield write_twin(path)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content.get("model"), dict):
        # It wraps the tensors; what is beside it is the state of a training.
        content = content["model"]
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values with memory of their own each: the format knows no two names for one tensor."""
    seen: set[int] = set()
    apart = {}
    for name, value in tensors.items():
        is_shared = value.untyped_storage().data_ptr() in seen
        seen.add(value.untyped_storage().data_ptr())
        apart[name] = value.clone(memory_format=torch.contiguous_format) if is_shared else value.contiguous()
    return apart


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.common.twin", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="directory with a config.yaml")
    options = parser.parse_args(arguments)
    try:
        for twin in write_twins(options.checkpoint):
            sys.stdout.write(f"{twin}: {twin.stat().st_size / 1e6:.1f} MB\n")
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
