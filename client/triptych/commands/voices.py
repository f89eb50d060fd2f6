"""`triptych voices`: the server's voices."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from triptych.client import Client
from triptych.commands.connection import address_option, output, run, timeout_option
from triptych.voices import Voice


@click.group()
def voices() -> None:
    """List, add, show and remove voices."""


@voices.command("list")
@address_option
@timeout_option(10.0)
def list_voices(address: str, timeout: float) -> None:
    """List all voices."""

    async def ask() -> tuple[Voice, ...]:
        async with Client(address, timeout=timeout) as client:
            return await client.voices.list()

    table = Table("NAME", "SECONDS", "RATE", "ID", box=None)
    for voice in run(ask()):
        table.add_row(voice.name, f"{voice.duration_seconds:.1f}", str(voice.sample_rate_hz), voice.id[:16])
    output().print(table)


@voices.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@address_option
@timeout_option(60.0)
def add(name: str, file: Path, address: str, timeout: float) -> None:
    """Register the recording FILE (WAV, FLAC, MP3 or Ogg) as NAME."""

    async def ask() -> Voice:
        async with Client(address, timeout=timeout) as client:
            return await client.voices.create(name, file)

    _print(run(ask()))


@voices.command()
@click.argument("name")
@address_option
@timeout_option(10.0)
def show(name: str, address: str, timeout: float) -> None:
    """Show the voice of this NAME or id."""

    async def ask() -> Voice:
        async with Client(address, timeout=timeout) as client:
            return await client.voices.get(name)

    _print(run(ask()))


@voices.command()
@click.argument("name")
@address_option
@timeout_option(10.0)
def remove(name: str, address: str, timeout: float) -> None:
    """Remove the voice NAME."""

    async def ask() -> None:
        async with Client(address, timeout=timeout) as client:
            await client.voices.delete(name)

    run(ask())
    click.echo(f"removed {name}")


def _print(voice: Voice) -> None:
    click.echo(f"name: {voice.name}")
    click.echo(f"id: {voice.id}")
    kind = f"{voice.sample_rate_hz} Hz, {voice.channels} channel(s)"
    click.echo(f"recording: {voice.duration_seconds:.2f} s, {kind}")
    click.echo(f"used: the first {voice.used_seconds:.2f} s")
    for warning in voice.warnings:
        click.echo(f"warning: {warning}", err=True)
