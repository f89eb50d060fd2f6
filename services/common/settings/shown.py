"""The effective settings as TOML, each with its source as a comment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.common.settings.fields import process_of, tables_of
from services.common.settings.given import Given
from services.common.settings.service import ServiceSettings


def shown(settings: ServiceSettings, given: Mapping[str, Given]) -> str:
    """Return a file that gives the same settings again, but for secrets, which are masked and commented out."""
    return "\n".join(_lines(settings, given)) + "\n"


def _lines(settings: ServiceSettings, given: Mapping[str, Given]) -> Iterator[str]:
    yield f"# What is in effect for {process_of(type(settings))}, and where it comes from."
    last = None
    for name, table in tables_of(type(settings)).items():
        if table != last:
            yield ""
            yield f"[{table}]"
            last = table
        origin = given[name].origin if name in given else "default"
        value = getattr(settings, name)
        if value is None:
            yield f"# {name} is not set  # {origin}"
        elif isinstance(value, SecretStr):
            yield f"# {name} = {to_toml(str(value))}  # {origin}"
        else:
            yield f"{name} = {to_toml(value)}  # {origin}"


def to_toml(value: Any) -> str:
    """Write a setting's value as TOML.

    Raises:
        TypeError: No setting has values of this type.
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, str | Path):
        # A TOML string is a JSON string, but for DEL, which JSON leaves as it is.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"{type(value).__name__} is no type of a setting")
