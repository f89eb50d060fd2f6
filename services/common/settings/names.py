"""Which names are settings at all, of this process or of another one, and which one a wrong name was meant for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic_settings import BaseSettings

from services.common.settings.fields import SHARED_PREFIX, process_of, tables_of
from services.common.settings.known import KNOWN

Names = Mapping[str, Mapping[str, str]]
"""Table by setting, by process."""


def known_names(cls: type[BaseSettings]) -> Names:
    """Return the settings of every process: what was recorded of the others, and what `cls` itself has."""
    recorded = {
        process: {name: table for table, names in tables.items() for name in names} for process, tables in KNOWN.items()
    }
    return recorded | {process_of(cls): {name: str(table) for name, table in tables_of(cls).items()}}


def prefixes(names: Names) -> tuple[str, ...]:
    """Return the prefixes of all processes' own variables."""
    return tuple(f"{SHARED_PREFIX}{process.upper()}_" for process in names if process)


def nearest(name: str, candidates: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the candidate that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, list(candidates), n=1, cutoff=likeness)), None)


def did_you_mean(candidate: str | None) -> str:
    return f"; did you mean {candidate}?" if candidate else ""
