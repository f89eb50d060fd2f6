"""What can go wrong, in one class."""

from __future__ import annotations


class WeightsError(Exception):
    """The checkpoint cannot be fetched; the text says why."""


def first_line(error: Exception) -> str:
    """What an error says, or its name, without what follows."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
