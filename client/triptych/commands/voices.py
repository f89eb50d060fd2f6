"""`triptych voices`: the server's voices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import click
from rich.table import Table

from triptych.commands.completion import complete_voice_names
from triptych.commands.connection import Server, run, server_options
from triptych.commands.output import json_option, print_json, print_out
from triptych.voices import AsyncVoices, Voice

_transcript_option = click.option("--transcript", metavar="TEXT", help="What is said in the recording.")
_description_option = click.option("--description", metavar="TEXT", help="For people.")


@click.group()
def voices() -> None:
    """List, add, change and remove voices."""


@voices.command("list")
@json_option
@server_options(10.0)
def list_voices(server: Server, as_json: bool) -> None:
    """List all voices; the default one has a star."""

    async def ask() -> tuple[Voice, ...]:
        async with server.client() as client:
            return await client.voices.list()

    found = run(ask())
    if as_json:
        print_json(found)
        return
    table = Table("NAME", "", "SECONDS", "RATE", "SOURCE", "ID", "DESCRIPTION", box=None)
    for voice in found:
        star = "*" if voice.is_default else ""
        facts = (f"{voice.duration_seconds:.1f}", str(voice.sample_rate_hz), voice.source, voice.id[:16])
        table.add_row(voice.name, star, *facts, voice.description)
    print_out(table)


@voices.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_transcript_option
@_description_option
@server_options(60.0)
def add(server: Server, name: str, file: Path, transcript: str | None, description: str | None) -> None:
    """Register the recording FILE (WAV, FLAC, MP3 or Ogg) as NAME."""
    _print(
        _ask(
            server,
            lambda known: known.create(name, file, transcript=transcript or "", description=description or ""),
        )
    )


@voices.command()
@click.argument("name", shell_complete=complete_voice_names)
@json_option
@server_options(10.0)
def show(server: Server, name: str, as_json: bool) -> None:
    """Show the voice of this NAME or id."""
    _print(_ask(server, lambda known: known.get(name)), as_json=as_json)


@voices.command()
@click.argument("name", shell_complete=complete_voice_names)
@click.option("--name", "new_name", metavar="NAME", help="Its name from now on.")
@_transcript_option
@_description_option
@server_options(10.0)
def update(server: Server, name: str, new_name: str | None, transcript: str | None, description: str | None) -> None:
    """Change what is said of the voice NAME; what is left out stays."""
    if new_name is None and transcript is None and description is None:
        raise click.UsageError("nothing to change: give --name, --transcript or --description")
    _print(
        _ask(
            server,
            lambda known: known.update(name, new_name=new_name, transcript=transcript, description=description),
        )
    )


@voices.command()
@click.argument("name", required=False, shell_complete=complete_voice_names)
@json_option
@server_options(10.0)
def default(server: Server, name: str | None, as_json: bool) -> None:
    """Show the voice of requests that name none; with NAME, make that voice the one."""
    _print(_ask(server, lambda known: known.set_default(name) if name else known.default()), as_json=as_json)


@voices.command()
@click.argument("name", shell_complete=complete_voice_names)
@server_options(10.0)
def remove(server: Server, name: str) -> None:
    """Remove the voice NAME."""

    async def ask() -> None:
        async with server.client() as client:
            await client.voices.delete(name)

    run(ask())
    print_out(f"removed {name}")


def _ask(server: Server, question: Callable[[AsyncVoices], Awaitable[Voice]]) -> Voice:
    async def ask() -> Voice:
        async with server.client() as client:
            return await question(client.voices)

    return run(ask())


def _print(voice: Voice, *, as_json: bool = False) -> None:
    if as_json:
        print_json(voice)
        return
    lines = [
        f"name: {voice.name}" + (" (default)" if voice.is_default else ""),
        f"id: {voice.id}",
        f"source: {voice.source}",
        f"recording: {voice.duration_seconds:.2f} s, {voice.sample_rate_hz} Hz, {voice.channels} channel(s)",
        f"used: the first {voice.used_seconds:.2f} s",
    ]
    lines += [f"transcript: {voice.transcript}"] if voice.transcript else []
    lines += [f"description: {voice.description}"] if voice.description else []
    print_out("\n".join(lines))
    for warning in voice.warnings:
        click.echo(f"warning: {warning.message}", err=True)
