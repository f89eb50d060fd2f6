"""Reads a checkpoint's config.yaml and complains by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from services.common.checkpoint.errors import CheckpointError
from services.common.checkpoint.profile_checks import complaints
from services.common.checkpoint.sections import CheckpointConfig

KNOWN_VERSIONS = (2.0,)
"""Values of `version` whose networks this implementation has."""


def load_config(directory: Path | str) -> CheckpointConfig:
    """Read `config.yaml` of a checkpoint directory.

    Raises:
        CheckpointError: if it is missing, is no YAML mapping, is of an unknown version, has an unknown key
            (named with the nearest known one), holds a value this implementation cannot honour, or a profile that
            no request could be served under.
    """
    path = Path(directory) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint directory has a config.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a mapping of sections")
    _check_version(data, path)
    try:
        config = CheckpointConfig.model_validate(data)
    except ValidationError as error:
        raise CheckpointError(f"{path}: " + "; ".join(_explain(error))) from error
    if found := "; ".join(complaints(config)):
        raise CheckpointError(f"{path}: {found}")
    return config


def _check_version(data: dict[object, object], path: Path) -> None:
    """Before the keys: of another version most of them would be unknown, and the reason would drown."""
    version = data.get("version", KNOWN_VERSIONS[0])
    if isinstance(version, bool) or version not in KNOWN_VERSIONS:
        known = ", ".join(str(number) for number in KNOWN_VERSIONS)
        raise CheckpointError(f"{path}: version = {version!r} is not known; known: {known}")


def _explain(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        location = [str(part) for part in detail["loc"]]
        key = ".".join(location)
        if detail["type"] != "extra_forbidden":
            # Pydantic puts a word of its own before the texts of this package.
            message = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"].lower()
            yield f"{key} = {detail['input']!r}: {message}"
            continue
        known = sorted(_section_at(location[:-1]).model_fields)
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known)}"
        yield f"unknown key {key}; {hint}"


def _section_at(location: list[str]) -> type[BaseModel]:
    """The section that keys lead to; in a table of sections any key leads to one."""
    section: Any = CheckpointConfig
    for part in location:
        is_table = get_origin(section) is dict
        section = get_args(section)[1] if is_table else section.model_fields[part].annotation
    found: type[BaseModel] = section
    return found
