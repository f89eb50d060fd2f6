"""A value with the place where an operator wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Given:
    value: Any
    origin: str
    """A flag, a variable, or ``file:table.key``."""


@dataclass
class Found:
    """What a source has, and what is wrong in it."""

    given: dict[str, Given] = field(default_factory=dict)
    """By the setting's name."""
    problems: list[str] = field(default_factory=list)
