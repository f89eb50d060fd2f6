"""The options that every command has, and the loop that a command runs in."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from triptych.async_client import AsyncClient
from triptych.connection import ADDRESS_VARIABLE, CA_VARIABLE, DEFAULT_ADDRESS, TOKEN_FILE_VARIABLE
from triptych.retries import Retry

T = TypeVar("T")
Command = Callable[..., None]

_ENDING_SIGNALS = ("SIGTERM", "SIGHUP")


class EndedBySignalError(Exception):
    """The process was told to go; what it had begun has been put in order."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Server:
    """Which server a command talks to, and for how long at most."""

    address: str
    token_file: Path | None = None
    ca: Path | None = None
    timeout_seconds: float | None = None

    def client(self, *, retries: int = 3, on_retry: Callable[[Retry], None] | None = None) -> AsyncClient:
        """Return a client; to be called inside of the event loop.

        Raises:
            ConfigError: if the token's or the certificate's file cannot be used.
        """
        return AsyncClient(
            self.address,
            timeout=self.timeout_seconds,
            token_file=self.token_file,
            ca=self.ca,
            retries=retries,
            on_retry=on_retry,
        )


def server_options(timeout_seconds: float | None) -> Callable[[Command], Command]:
    """Add the options of a connection to a command, which gets them as the argument `server`.

    Args:
        timeout_seconds: What --timeout is when it is left out.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_server(
            *, address: str, token_file: Path | None, ca: Path | None, timeout: float | None, **arguments: Any
        ) -> None:
            command(server=Server(address, token_file, ca, timeout), **arguments)

        wrapped: Command = with_server
        for option in reversed(_options(timeout_seconds)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _options(timeout_seconds: float | None) -> tuple[Callable[[Command], Command], ...]:
    return (
        click.option(
            "--address",
            metavar="HOST:PORT",
            envvar=ADDRESS_VARIABLE,
            default=DEFAULT_ADDRESS,
            show_default=True,
            show_envvar=True,
            help="Where the server listens.",
        ),
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar=TOKEN_FILE_VARIABLE,
            show_envvar=True,
            help="A file with the token that the server asks for.",
        ),
        click.option(
            "--ca",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar=CA_VARIABLE,
            show_envvar=True,
            help="A PEM file of who may vouch for the server; turns TLS on.",
        ),
        click.option(
            "--timeout",
            metavar="SECONDS",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout_seconds,
            show_default=timeout_seconds is not None,
            help="Give up after this time.",
        ),
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; a signal to end cancels it, so that files and streams are closed.

    Raises:
        EndedBySignalError: after a signal other than Ctrl-C.
        KeyboardInterrupt: after Ctrl-C.
    """
    return asyncio.run(_until_signal(coroutine))


async def _until_signal(coroutine: Coroutine[Any, Any, T]) -> T:
    work = asyncio.ensure_future(coroutine)
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        work.cancel()

    _listen(end)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise EndedBySignalError(received[0]) from None
        raise


def _listen(end: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    for name in _ENDING_SIGNALS:
        number = getattr(signal, name, None)
        # One that is ignored, as under nohup, stays so.
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        try:
            loop.add_signal_handler(number, end, number)
        except NotImplementedError:  # Windows
            return
