"""What the commands print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType

_WIDTH_WITHOUT_TERMINAL = 240

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class PipeClosedError(Exception):
    """Whoever read our standard output has gone."""


@contextmanager
def closing_pipe() -> Iterator[None]:
    """Tell a reader that has gone from other failures; click would end the process on its own terms.

    Raises:
        PipeClosedError: instead of `BrokenPipeError`.
    """
    try:
        yield
    except BrokenPipeError:
        raise PipeClosedError from None


class _Output(Console):
    def on_broken_pipe(self) -> None:
        raise PipeClosedError


def print_out(*items: RenderableType) -> None:
    """Print tables and lines; they are not folded when they go into a pipe."""
    console = _console()
    with closing_pipe():
        for item in items:
            console.print(item)


def print_title(text: str) -> None:
    with closing_pipe():
        _console().print(text, style="bold")


def print_json(value: Any) -> None:
    """Print dataclasses, and what they hold, under the names of their fields."""
    with closing_pipe():
        click.echo(json.dumps(plain(value), indent=2))


def plain(value: Any) -> Any:
    """Return `value` as objects, arrays, strings and numbers."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _console() -> Console:
    # What comes from a server or a text is shown as it is, whatever brackets and colons are in it.
    settings: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = _Output(**settings)
    return console if console.is_terminal else _Output(**settings, width=_WIDTH_WITHOUT_TERMINAL)
