"""Settings from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic_settings import BaseSettings, CliSettingsSource

from services.common.settings.fields import flag_of
from services.common.settings.given import Found, Given
from services.common.settings.names import did_you_mean, nearest


class _FlagError(Exception):
    """The arguments cannot be taken apart."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _FlagError(message.removeprefix("argument "))


@dataclass
class Flags(Found):
    """Also the two flags that are no settings."""

    config: Path | None = None
    is_print_wanted: bool = False


def read_flags(cls: type[BaseSettings], arguments: Sequence[str]) -> Flags:
    """Take the arguments apart; values are checked later, with those of the other sources.

    Raises:
        SystemExit: With 0 after ``--help``.
    """
    parser = _Parser(
        prog=f"python -m {cls.__module__.rpartition('.')[0]}",
        allow_abbrev=False,
        description=cls.__doc__,
        epilog="A flag wins over a variable, that over the file, that over the default. docs/configuration.md has all.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with [model], [runtime] and [server]")
    parser.add_argument("--print-config", action="store_true", help="print what is in effect, and where from, and end")
    rest: list[str] = []
    known = argparse.Namespace()

    def parse(root: argparse.ArgumentParser, args: list[str]) -> argparse.Namespace:
        nonlocal known
        known, unknown = root.parse_known_args(args)
        rest.extend(unknown)
        return known

    try:
        # pydantic-settings' parser for the fields; a class's own settings are never read on the side.
        source: CliSettingsSource[_Parser] = CliSettingsSource(
            cls, root_parser=parser, parse_args_method=parse, cli_parse_args=list(arguments)
        )
        values = source()
    except _FlagError as error:
        return Flags(problems=[str(error)])
    return Flags(
        given={name: Given(value, flag_of(name)) for name, value in values.items()},
        problems=_unknown(cls, rest),
        config=known.config,
        is_print_wanted=known.print_config,
    )


def _unknown(cls: type[BaseSettings], rest: Sequence[str]) -> list[str]:
    """Return a line for each flag that there is not; never a value, which may be a secret."""
    flags = [argument.partition("=")[0] for argument in rest if argument.startswith("-")]
    known = [*map(flag_of, cls.model_fields), "--config", "--print-config", "--help"]
    if rest and not flags:
        return ["an argument belongs to no flag; a value with spaces needs quotes"]
    return [f"{flag} is not a setting{did_you_mean(nearest(flag, known))}" for flag in flags]
