"""Settings from the TOML file that one or several processes share.

``[model]``, ``[runtime]`` and ``[server]`` hold for every process that has the setting; a table such as
``[runtime.gpt]`` holds for that process alone and wins.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

from services.common.settings.fields import Table, is_secret, process_of
from services.common.settings.given import Found, Given
from services.common.settings.names import Names, did_you_mean, nearest

_POSITION = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)


class FileError(Exception):
    """The file cannot be read as TOML; says file, line and what."""


def read_file(cls: type[BaseSettings], path: Path, names: Names) -> Found:
    """Return what the file sets for this process, and what in it is no setting of any.

    Raises:
        FileError: It cannot be read or is no TOML.
    """
    found = Found()
    shared: dict[str, Given] = {}
    own: dict[str, Given] = {}
    for table, process, key, value in _entries(_parse(path), path, names, found.problems):
        place = f"{table}.{process}.{key}" if process else f"{table}.{key}"
        problem = _misplaced(table, process, key, names)
        if problem:
            found.problems.append(f"{path}:{place} {problem}")
        elif key in cls.model_fields and process in ("", process_of(cls)):
            given = Given(value, f"{path}:{place}")
            wrong = _wrong_type(cls, key, given)
            if wrong:
                found.problems.append(wrong)
            else:
                (own if process else shared)[key] = given
    found.given = shared | own
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise FileError(f"--config {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: byte {error.start} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        match = _POSITION.fullmatch(str(error))
        if match is None:
            raise FileError(f"{path}: is no TOML: {error}") from None
        where = f"line {match['line']}, column {match['column']}" if match["line"] else "end of the file"
        raise FileError(f"{path}: {where}: {match['what']}") from None


def _entries(
    document: dict[str, Any], path: Path, names: Names, problems: list[str]
) -> Iterator[tuple[str, str, str, Any]]:
    """Yield table, process (empty in a shared table), key and value; what is no table at all is a problem."""
    tables = [str(table) for table in Table]
    for table, content in document.items():
        if table not in tables or not isinstance(content, dict):
            problems.append(f"{path}:{table} {_not_a_table(table, names, is_table=isinstance(content, dict))}")
            continue
        for key, value in content.items():
            if not isinstance(value, dict):
                yield table, "", key, value
            elif key in names and key:
                yield from ((table, key, inner, deep) for inner, deep in value.items())
            else:
                meant = nearest(key, filter(None, names))
                problems.append(
                    f"{path}:{table}.{key} is not a process{did_you_mean(meant and f'[{table}.{meant}]')}"
                    f" (processes: {', '.join(sorted(filter(None, names)))})"
                )


def _not_a_table(name: str, names: Names, *, is_table: bool) -> str:
    tables = [str(table) for table in Table]
    owner = next((known[name] for known in names.values() if name in known), None)
    if name in tables:
        return f"must be a table: write [{name}]"
    if owner:
        return f"belongs to [{owner}]"
    meant = nearest(name, tables)
    return (
        f"is not a table{did_you_mean(meant and f'[{meant}]')}"
        if is_table
        else "is outside [model], [runtime], [server]"
    )


def _misplaced(table: str, process: str, key: str, names: Names) -> str:
    """Return what is wrong with the name, or nothing."""
    owners = [names[process]] if process else list(names.values())
    tables = {owner[key] for owner in owners if key in owner}
    if table in tables:
        return ""
    if tables:
        right = min(tables)
        return f"belongs to [{right}.{process}]" if process else f"belongs to [{right}]"
    here = {name for owner in owners for name, its_table in owner.items() if its_table == table}
    anywhere = {name: its_table for owner in owners for name, its_table in owner.items()}
    meant = nearest(key, sorted(here)) or nearest(key, sorted(anywhere))
    place = (
        f"{table if meant in here else anywhere[meant]}{f'.{process}' if process else ''}.{meant}" if meant else None
    )
    return f"is not a setting{f' of {process}' if process else ''}{did_you_mean(place)}"


def _wrong_type(cls: type[BaseSettings], name: str, given: Given) -> str:
    """Say what a value of the wrong TOML type should be: text is no number in a file, and true is not 1."""
    field = cls.model_fields[name]
    # A list is an array here, so what splits text at commas is left out.
    marks = [mark for mark in field.metadata if not isinstance(mark, BeforeValidator)]
    kind: Any = Annotated[(field.annotation, *marks)] if marks else field.annotation
    try:
        TypeAdapter(kind).validate_json(json.dumps(given.value, default=str), strict=True)
    except ValidationError as error:
        return describe(given, error.errors()[0]["msg"], is_hidden=is_secret(field))
    return ""


def describe(given: Given, message: str, *, is_hidden: bool) -> str:
    """Return the line of a wrong value; a secret is not shown."""
    value = "" if is_hidden else f" is {given.value!r}"
    return f"{given.origin}{value}: {message.removeprefix('Value error, ')}"
