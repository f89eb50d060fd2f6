"""`triptych bench`: a minute's benchmark of a server, as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from triptych.benchmark import Benchmark, Load, Plan, run_benchmark
from triptych.benchmark import Progress as OnProgress
from triptych.commands.completion import complete_models, complete_voices
from triptych.commands.connection import Server, run, server_options
from triptych.commands.output import json_option, print_json, print_out
from triptych.errors import DeadlineError

_COLUMNS = (
    "STREAMS",
    "REQUESTS",
    "FIRST P50",
    "FIRST P95",
    "RTF",
    "UNDERRUNS",
    "THROUGHPUT",
    "CUT",
    "UNHEARD",
    "FAILED",
)


def _counts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Read `1,2,4`."""
    try:
        counts = tuple(int(item) for item in value.split(","))
    except ValueError:
        counts = ()
    if not counts or not all(1 <= count <= 64 for count in counts):
        raise click.BadParameter(f"{value!r}: write numbers from 1 to 64, such as 1,2,4", ctx, param)
    return counts


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="How long all of it may take.",
)
@click.option(
    "--streams",
    metavar="N,…",
    callback=_counts,
    default="1,2,4",
    show_default=True,
    help="How many speak at once, one after the other.",
)
@click.option("-v", "--voice", metavar="NAME|FILE", shell_complete=complete_voices, help="Else the default voice.")
@click.option("--model", metavar="NAME", shell_complete=complete_models, help="Else the default model.")
@click.option("--text", help="What every stream says, instead of some English sentences.")
@json_option
@server_options(None)
def bench(
    *,
    server: Server,
    seconds: float,
    streams: tuple[int, ...],
    voice: str | None,
    model: str | None,
    text: str | None,
    as_json: bool,
) -> None:
    """Measure how soon and how fast the server speaks.

    A first sentence, which does not count, warms it up. RTF is how long a second of speech takes, in requests
    that were finished; those that the time CUT count for the rest, and UNHEARD are the cut of which nothing had come;
    underruns are the gaps that a listener would hear with 100 ms of pre-buffer; throughput is speech made per second.
    """
    plan = Plan(seconds=seconds, streams=streams)
    if text:
        plan = dataclasses.replace(plan, sentences=(text,))
    options = {name: value for name, value in {"voice": voice, "model": model}.items() if value is not None}
    _print(run(_measure(server, plan, options)), as_json=as_json)


async def _measure(server: Server, plan: Plan, options: dict[str, Any]) -> Benchmark:
    async with server.client() as client:
        with _shown() as on_progress:
            try:
                return await run_benchmark(client, plan, on_progress=on_progress, **options)
            except TimeoutError:
                message = f"the first sentence took longer than {plan.seconds:g} s: allow more with --seconds"
                raise DeadlineError(message) from None


@contextmanager
def _shown() -> Iterator[OnProgress | None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    progress = Progress(
        TextColumn("{task.fields[streams]} stream(s)"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    progress.add_task("", total=1.0, streams=0)
    with progress:
        yield lambda streams, share: progress.update(TaskID(0), completed=share, streams=streams)


def _print(benchmark: Benchmark, *, as_json: bool) -> None:
    if as_json:
        loads = [dataclasses.asdict(load) | {"throughput": load.throughput} for load in benchmark.loads]
        print_json(dataclasses.asdict(benchmark) | {"loads": loads})
        return
    table = Table(box=None)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for load in benchmark.loads:
        table.add_row(*_row(load))
    places = "; ".join(f"{stage} on {place}" for stage, place in benchmark.devices.items())
    print_out(f"{benchmark.model}, revision {benchmark.model_revision}: {places}", table)


def _row(load: Load) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return (
        str(load.streams),
        str(load.requests),
        number(load.first_audio_p50_ms, ".0f") + " ms",
        number(load.first_audio_p95_ms, ".0f") + " ms",
        number(load.real_time_factor, ".2f"),
        str(load.underruns),
        f"{load.throughput:.2f} x",
        str(load.cut),
        str(load.unheard),
        str(load.failed),
    )
