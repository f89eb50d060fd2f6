"""What a field of a settings class carries: its table in the configuration file, and the names of its sources."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode

SHARED_PREFIX = "TTS_"

Any_ = TypeVar("Any_")


class Table(StrEnum):
    """Where a setting stands in the configuration file."""

    MODEL = "model"
    """Which checkpoint and which voices."""
    RUNTIME = "runtime"
    """How the work is done: device, sizes, limits, waits."""
    SERVER = "server"
    """How the process is reached and watched."""


Model = Annotated[Any_, Table.MODEL]
Runtime = Annotated[Any_, Table.RUNTIME]
Server = Annotated[Any_, Table.SERVER]

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")


def _checked_address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("must be host:port with a port from 0 to 65535, such as 127.0.0.1:50051 or [::]:50051")
    return value


def _split_at_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_checked_address)]

CommaList = Annotated[tuple[Any_, ...], NoDecode, BeforeValidator(_split_at_commas)]
"""Commas between the values in a flag or a variable, an array in TOML."""


def table_of(cls: type[BaseSettings], name: str) -> Table:
    """Return the table that the field's type names, here or in a base class; [runtime] where none does."""
    for base in cls.__mro__:
        field = getattr(base, "model_fields", {}).get(name)
        for mark in field.metadata if field else ():
            if isinstance(mark, Table):
                return mark
    return Table.RUNTIME


def tables_of(cls: type[BaseSettings]) -> dict[str, Table]:
    """Return the table of each field, in the order of the tables."""
    tables = {name: table_of(cls, name) for name in cls.model_fields}
    order = list(Table)
    return dict(sorted(tables.items(), key=lambda entry: order.index(entry[1])))


def prefix_of(cls: type[BaseSettings]) -> str:
    """Return the prefix of the process's own variables, such as ``TTS_GPT_``."""
    return str(cls.model_config.get("env_prefix", "")).upper()


def process_of(cls: type[BaseSettings]) -> str:
    """Return the process's name in the configuration file, such as ``gpt``."""
    return prefix_of(cls).removeprefix(SHARED_PREFIX).rstrip("_").lower()


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def variable_of(prefix: str, name: str) -> str:
    return f"{prefix}{name}".upper()


def is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))
