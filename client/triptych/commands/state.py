"""`triptych health` and `triptych models`."""

from __future__ import annotations

import asyncio
import sys

import click
from rich.table import Table

from triptych.client import Client
from triptych.commands.connection import address_option, output, run, timeout_option
from triptych.health import Health
from triptych.models import Model

_HEALTH_COLUMNS = ("NAME", "STATE", "MODEL", "REVISION", "DEVICE", "PROVIDER", "DTYPE", "SLOTS", "WORKER")


@click.command()
@address_option
@timeout_option(10.0)
def health(address: str, timeout: float) -> None:
    """Show whether the server and each stage of its models serve.

    Exits with 1 when the server would not take a request to speak.
    """

    async def ask() -> tuple[Health, tuple[Model, ...]]:
        async with Client(address, timeout=timeout) as client:
            return await asyncio.gather(client.health(), client.models())

    state, known = run(ask())
    table = Table(*_HEALTH_COLUMNS, box=None)
    table.add_row("gateway", "serving" if state.is_serving else "not serving")
    missing = dict(state.stages)
    for model in known:
        for stage in model.stages:
            missing.pop(stage.name, None)
            table.add_row(
                stage.name,
                "serving" if stage.is_serving else "not serving",
                model.name,
                model.revision,
                stage.device,
                stage.provider,
                stage.dtype,
                str(stage.slots),
                stage.worker,
            )
    for name, is_serving in missing.items():
        table.add_row(name, "serving" if is_serving else "not serving")
    output().print(table)
    sys.exit(0 if state.is_serving else 1)


@click.command()
@address_option
@timeout_option(10.0)
def models(address: str, timeout: float) -> None:
    """List the server's models, what they can do and what a request may set."""

    async def ask() -> tuple[Model, ...]:
        async with Client(address, timeout=timeout) as client:
            return await client.models()

    console = output()
    for model in run(ask()):
        default = " (default)" if model.is_default else ""
        console.print(f"{model.name}{default}", style="bold")
        table = Table(box=None, show_header=False, padding=(0, 2))
        limits = model.limits
        table.add_row("revision", model.revision)
        table.add_row("languages", ", ".join(model.languages))
        table.add_row("sample rate", f"{model.sample_rate_hz} Hz")
        table.add_row("can", ", ".join(model.capabilities))
        table.add_row("stages", " > ".join(stage.name for stage in model.stages))
        table.add_row(
            "text",
            f"at most {limits.max_unary_characters} characters at once, {limits.max_stream_characters} streamed",
        )
        table.add_row(
            "recording",
            f"at most {limits.max_voice_seconds:g} s and {limits.max_voice_bytes / 1e6:g} MB",
        )
        for parameter in model.parameters:
            table.add_row(
                parameter.name,
                f"{parameter.minimum:g} to {parameter.maximum:g}, default {parameter.default:g}"
                + (f": {parameter.description}" if parameter.description else ""),
            )
        console.print(table)
