"""The options that every command has, and the loop that a command runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console

from triptych.client import ADDRESS_VARIABLE, DEFAULT_ADDRESS

P = ParamSpec("P")
T = TypeVar("T")

_WIDTH_WITHOUT_TERMINAL = 240

address_option = click.option(
    "--address",
    metavar="HOST:PORT",
    envvar=ADDRESS_VARIABLE,
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    help="Where the server listens.",
)


def timeout_option(default: float | None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=default is not None,
        help="Give up after this time.",
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def output() -> Console:
    """Return a console for tables on stdout; lines are not folded when they go into a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
