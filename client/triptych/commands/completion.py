"""`triptych completion`, and the names that a shell completes from the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from triptych.async_client import AsyncClient
from triptych.commands.connection import Server
from triptych.connection import DEFAULT_ADDRESS
from triptych.errors import TtsError

PROGRAM = "triptych"
_VARIABLE = "_TRIPTYCH_COMPLETE"
_PATIENCE_SECONDS = 1.0
"""Nobody waits longer for a completion."""
_PARAMETER_FIELD = "config.params["

Ask = Callable[[AsyncClient, str], Awaitable[Iterable[str]]]
"""Asks a server for names, given the model that the line chooses."""
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets SHELL complete commands, options and the server's names.

    \b
    bash: triptych completion bash > ~/.local/share/bash-completion/completions/triptych
    zsh:  triptych completion zsh > ~/.zfunc/_triptych   (with ~/.zfunc in fpath, before compinit)
    fish: triptych completion fish > ~/.config/fish/completions/triptych.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, _VARIABLE).source())


async def _voices(client: AsyncClient, _model: str) -> Iterable[str]:
    return [voice.name for voice in await client.voices.list()]


async def _models(client: AsyncClient, _model: str) -> Iterable[str]:
    return [known.name for known in await client.models()]


async def _rules(client: AsyncClient, model: str) -> Iterable[str]:
    return (await client.model(model)).text_rules


async def _parameters(client: AsyncClient, model: str) -> Iterable[str]:
    parameters = (await client.model(model)).parameters
    return [f"{parameter.name}=" for parameter in parameters if parameter.field.startswith(_PARAMETER_FIELD)]


def _completer(ask: Ask) -> Complete:
    """Return what completes names of the server, and nothing when it does not answer."""

    async def names(given: dict[str, Any]) -> Iterable[str]:
        async with asyncio.timeout(_PATIENCE_SECONDS), _server(given).client(retries=0) as client:
            return await ask(client, given.get("model") or "")

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = asyncio.run(names(ctx.params))
        except (TtsError, OSError):
            # Whatever is wrong, the line that is being written is no place to say so. A timeout is an OSError.
            return []
        return [CompletionItem(name) for name in sorted(found) if name.startswith(incomplete)]

    return complete


complete_voice_names = _completer(_voices)
complete_models = _completer(_models)
complete_rules = _completer(_rules)
complete_parameters = _completer(_parameters)


def complete_voices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a voice's name or, where none fits, a path."""
    if "/" not in incomplete and (names := complete_voice_names(ctx, param, incomplete)):
        return names
    return [CompletionItem(incomplete, type="file")]


def _server(given: dict[str, Any]) -> Server:
    def path(name: str) -> Path | None:
        return Path(given[name]) if given.get(name) else None

    return Server(given.get("address") or DEFAULT_ADDRESS, path("token_file"), path("ca"), _PATIENCE_SECONDS)
