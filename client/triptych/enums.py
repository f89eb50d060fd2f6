"""Names of proto enums as this package writes them: lower case, without the prefix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from triptych.errors import ConfigError, ErrorDetails

EnumType = EnumTypeWrapper | Any  # The stubs make each enum a class, whose metaclass is the wrapper.


def name_of(kind: EnumType, number: int) -> str:
    """Return ``stop`` for ``FINISH_REASON_STOP``; a number that this version does not know as digits."""
    try:
        return str(kind.Name(number)).removeprefix(_prefix(kind)).lower()
    except ValueError:
        return str(number)


def names_of(kind: EnumType, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(name_of(kind, number) for number in numbers)


def number_of(kind: EnumType, name: str, *, field: str) -> Any:
    """Return the value of a name that a caller gave.

    Raises:
        ConfigError: if there is none; it lists those that there are.
    """
    known = names_of(kind, kind.values()[1:])
    if name not in known:
        message = f"{field} is one of: {', '.join(known)}"
        raise ConfigError(message, ErrorDetails(reason="FIELD_INVALID", field=field))
    return kind.Value(_prefix(kind) + name.upper())


def _prefix(kind: EnumType) -> str:
    # The first value of every enum is PREFIX_UNSPECIFIED.
    return str(kind.keys()[0]).removesuffix("UNSPECIFIED")
