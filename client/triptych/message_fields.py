"""Puts a caller's values into a message, and names the option whose value does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from triptych.errors import ConfigError, ErrorDetails


@dataclass(frozen=True)
class _Kind:
    words: str
    python_type: type
    convert: Callable[[Any], object]
    limits: str = ""
    """Which values of this type fit."""


_NUMBER = _Kind("a number", Real, float)
_TEXT = _Kind("a str", str, str, "text without half a character (a lone surrogate)")
_KINDS = {
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
    FieldDescriptor.CPPTYPE_DOUBLE: _NUMBER,
    FieldDescriptor.CPPTYPE_BOOL: _Kind("a bool", bool, bool),
    FieldDescriptor.CPPTYPE_UINT32: _Kind("a whole number", Integral, int, f"a whole number from 0 to {2**32 - 1}"),
    FieldDescriptor.CPPTYPE_UINT64: _Kind("a whole number", Integral, int, f"a whole number from 0 to {2**64 - 1}"),
}


def fill(message: Message, values: Mapping[str, object], *, path: str, option: str = "") -> None:
    """Set the fields of `message` that have a value; None leaves one unset.

    Args:
        message: With fields of one value each.
        values: By the name of the field.
        path: Of `message`, for programs: ``config.sampling``.
        option: What the caller calls it, for people: ``sampling``; empty if the fields are options themselves.

    Raises:
        TypeError: if a value is of the wrong kind.
        ConfigError: if a value is beyond what the field holds.
    """
    for name, value in values.items():
        if value is not None:
            known_as = f"{option}.{name}" if option else name
            kind = _KINDS[message.DESCRIPTOR.fields_by_name[name].cpp_type]
            _put(kind, value, partial(setattr, message, name), known_as, f"{path}.{name}")


def put_number(value: object, put: Callable[[Any], object], *, option: str, path: str) -> None:
    """Give `value` to `put`, if it is a number. Raises as `fill` does."""
    _put(_NUMBER, value, put, option, path)


def put_text(value: object, put: Callable[[Any], object], *, option: str, path: str) -> None:
    """Give `value` to `put`, if it is text. Raises as `fill` does."""
    _put(_TEXT, value, put, option, path)


def _put(kind: _Kind, value: object, put: Callable[[Any], object], option: str, path: str) -> None:
    if not isinstance(value, kind.python_type):
        raise TypeError(f"{option} is {kind.words}, not {type(value).__name__}")
    try:
        put(kind.convert(value))
    except (ValueError, OverflowError):
        message = f"{option} is {kind.limits or kind.words}"
        raise ConfigError(message, ErrorDetails(reason="OUT_OF_RANGE", field=path)) from None
