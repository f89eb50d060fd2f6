"""Puts the sources together: a flag wins over a variable, that over the file, that over the default."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.common.settings.fields import flag_of, is_secret, prefix_of, process_of, table_of, variable_of
from services.common.settings.file import FileError, describe, read_file
from services.common.settings.flags import read_flags
from services.common.settings.given import Found, Given
from services.common.settings.names import known_names
from services.common.settings.service import ServiceSettings
from services.common.settings.shown import shown
from services.common.settings.variables import forget_secrets, read_variables

BAD_SETTINGS_EXIT_CODE = 2

AnySettings = TypeVar("AnySettings", bound=ServiceSettings)


class SettingsError(Exception):
    """Settings are wrong; the text is one screen that names each, its source, its value and what is allowed."""


@dataclass(frozen=True)
class Effective(Generic[AnySettings]):
    """Settings, and where each that is not a default comes from."""

    settings: AnySettings
    given: Mapping[str, Given]
    is_print_wanted: bool = False


def load_settings(cls: type[AnySettings], argv: Sequence[str] | None = None) -> AnySettings:
    """Read what a process is told: flags (the process's own unless given), environment, file, defaults.

    Secrets are taken out of the environment.

    Raises:
        SystemExit: With 2 after one screen that names each wrong setting, its source, its value and what is allowed;
            with 0 after ``--help`` or ``--print-config``.
    """
    try:
        effective = read_settings(cls, sys.argv[1:] if argv is None else argv)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_SETTINGS_EXIT_CODE) from None
    finally:
        forget_secrets(cls)
    if effective.is_print_wanted:
        sys.stdout.write(shown(effective.settings, effective.given))
        raise SystemExit(0)
    return effective.settings


def read_settings(cls: type[AnySettings], argv: Sequence[str]) -> Effective[AnySettings]:
    """Read the same as `load_settings`, and leave the environment and the process alone.

    Raises:
        SettingsError: Something is wrong.
        SystemExit: With 0 after ``--help``.
    """
    names = known_names(cls)
    flags = read_flags(cls, argv)
    variables = read_variables(cls, names)
    problems = [*flags.problems, *variables.problems]
    file = Found()
    if flags.config is not None:
        try:
            file = read_file(cls, flags.config, names)
        except FileError as error:
            problems.append(str(error))
    problems += file.problems
    given = file.given | variables.given | flags.given
    try:
        settings = cls(**{name: one.value for name, one in given.items()})
    except ValidationError as error:
        problems += [_describe(cls, detail, given) for detail in error.errors()]
    if problems:
        raise SettingsError(_screen(cls, problems))
    return Effective(settings, given, flags.is_print_wanted)


def _screen(cls: type[ServiceSettings], problems: Sequence[str]) -> str:
    # Every wrong value of a list gives the line of the whole list.
    lines = list(dict.fromkeys(problems))
    title = f"{process_of(cls) or 'settings'}: {len(lines)} wrong setting{'s' if len(lines) > 1 else ''}"
    return "\n".join([title, *(f"  {line}" for line in lines), "--help lists every setting."])


def _describe(cls: type[ServiceSettings], detail: ErrorDetails, given: Mapping[str, Given]) -> str:
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    name = str(detail["loc"][0])
    if name in given:
        return describe(given[name], detail["msg"], is_hidden=is_secret(cls.model_fields[name]))
    if detail["type"] == "missing":
        places = f"{flag_of(name)}, {variable_of(prefix_of(cls), name)} or {name} in [{table_of(cls, name)}]"
        return f"{places} must be set"
    return f"{flag_of(name)}, by default: {detail['msg']}"
