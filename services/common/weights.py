"""Weight files in the formats of the official checkpoint, read without running code in them.

Every complaint names the file and the tensors, because a wrong checkpoint is found by its names.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from services.common.checkpoint import CheckpointError

_NAMES_SHOWN = 12

_WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def load_weights(path: Path) -> Any:
    """Read whatever a weight file holds, memory-mapped, without running code in it.

    Raises:
        CheckpointError: if the file is missing, damaged or holds code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Only the zip format can be mapped; old files in the plain pickle format are read whole.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: damaged, or holds more than tensors; nothing in it was executed") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a weight file: {error}") from error


def read_state(path: Path, *keys: str) -> dict[str, Tensor]:
    """Read a state dict: `.safetensors` or a pickle restricted to tensors. Either is memory-mapped.

    `keys` descends into nested dicts ("net", "cfm"), which in `.safetensors` are the beginnings of names
    (`net.cfm.`, see `checkpoint.twins`); a level called "model" is passed through, a leading `module.`
    stripped, and half precision made float32.

    Raises:
        CheckpointError: if the file is missing, damaged, holds code, or lacks a key.
    """
    content = _read(path)
    if path.suffix == ".safetensors":
        content = _section(content, ".".join(keys), path)
    else:
        content = _descend(content, keys, path)
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if len(state) != len(content):
        others = sorted(str(name) for name, value in content.items() if not isinstance(value, Tensor))
        raise CheckpointError(f"{path}: expected tensors only, but these are none: {_shown(others)}")
    return {name.removeprefix("module."): _full_precision(value) for name, value in state.items()}


def read_tensor(path: Path) -> Tensor:
    """Read a file that holds one bare tensor, as float32 if it is of a floating type.

    In `.safetensors`, where every tensor has a name, it must be the only one.

    Raises:
        CheckpointError: as for `read_state`, or if it holds anything else.
    """
    content = load_weights(path)
    if path.suffix == ".safetensors" and len(content) == 1:
        [content] = content.values()
    if not isinstance(content, Tensor):
        raise CheckpointError(f"{path}: expected one tensor, found {type(content).__name__}")
    return _full_precision(content)


def fuse_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each pair of magnitude g and direction v by w = v·g/‖v‖ (§1.3).

    The norm runs over all dimensions but the first, which suits linear, convolution and
    transposed convolution alike. Other tensors pass unchanged.
    """
    fused = dict(state)
    for suffix_g, suffix_v in _WEIGHT_NORM:
        for name in [name for name in fused if name == suffix_g or name.endswith("." + suffix_g)]:
            stem = name.removesuffix(suffix_g)
            if stem + suffix_v not in fused:
                raise CheckpointError(f"{name} has no partner {stem + suffix_v}")
            magnitude, direction = fused.pop(name), fused.pop(stem + suffix_v)
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.dim() - 1))
            fused[stem + "weight"] = direction * (magnitude / norm)
    return fused


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    ignore: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Load `state` into `module`, which may be on the meta device, and complain by name.

    Args:
        module: receives the tensors; on the meta device it takes them over without a copy.
        state: tensors by name.
        source: file name for messages.
        ignore: patterns (whole names) of tensors in `state` that the module does not use.
        optional: patterns of tensors of the module that `state` need not have.

    Raises:
        CheckpointError: listing missing, unknown and misshapen tensors.
    """
    wanted = module.state_dict()
    used = {name: value for name, value in state.items() if name in wanted or not _matches(name, ignore)}
    missing = [name for name in wanted if name not in used and not _matches(name, optional)]
    unknown = [name for name in used if name not in wanted]
    misshapen = [
        f"{name} {tuple(used[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in used and used[name].shape != value.shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    complaints = [f"{kind}: {_shown(names)}" for kind, names in kinds.items() if names]
    if complaints:
        raise CheckpointError(f"{source} does not fit {type(module).__name__}; " + "; ".join(complaints))
    is_meta = any(value.is_meta for value in wanted.values())
    module.load_state_dict(used, strict=False, assign=is_meta)


def _section(content: dict[str, Any], prefix: str, path: Path) -> dict[str, Any]:
    """The tensors of a flat file whose names begin with a section's."""
    if not prefix:
        return content
    start = prefix + "."
    section = {name.removeprefix(start): value for name, value in content.items() if name.startswith(start)}
    if not section:
        raise CheckpointError(f"{path}: no section {prefix!r}; it has {_shown(sorted(content))}")
    return section


def _descend(content: dict[str, Any], keys: Sequence[str], path: Path) -> dict[str, Any]:
    """The nested dict under `keys`."""
    for key in keys:
        if key not in content and isinstance(content.get("model"), dict):
            content = content["model"]
        if not isinstance(content.get(key), dict):
            raise CheckpointError(f"{path}: no section {key!r}; it has {_shown(sorted(content))}")
        content = content[key]
    if isinstance(content.get("model"), dict):
        content = content["model"]
    return content


def _read(path: Path) -> dict[str, Any]:
    content = load_weights(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found {type(content).__name__}")
    return content


def _full_precision(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _shown(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    shown = ", ".join(str(name) for name in names[:_NAMES_SHOWN])
    return f"{shown} and {rest} more ({len(names)})" if rest > 0 else f"{shown} ({len(names)})"
