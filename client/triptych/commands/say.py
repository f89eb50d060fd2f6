"""`triptych say`: text in, speech to a file, a pipe or the sound card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from triptych.commands.connection import Server, run, server_options
from triptych.commands.destinations import Wishes
from triptych.commands.dry_run import CODES, TEXT, analyze, print_analysis, read_stdin
from triptych.commands.output import json_option
from triptych.commands.say_options import options_of, speech_options
from triptych.commands.speaker import Speaker
from triptych.commands.text_input import read_text
from triptych.options import Options
from triptych.playback import PREBUFFER_MS

_DRY_RUN = "--dry-run"


class _SayCommand(click.Command):
    """Lets `--dry-run` stand before TEXT, which click would take for its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        given = [f"{_DRY_RUN}={TEXT}" if arg == _DRY_RUN else arg for arg in args[:end]]
        return super().parse_args(ctx, given + args[end:])


@click.command(cls=_SayCommand)
@click.argument("text", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read the text from FILE; '-' is standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a WAV file (.wav or no suffix), or the bytes of --encoding alone (.raw).",
)
@click.option("--play", is_flag=True, help="Play on the sound card.")
@click.option(
    "--prebuffer-ms",
    type=click.IntRange(0, 10_000),
    default=PREBUFFER_MS,
    show_default=True,
    help="With --play: how much has to be there before anything sounds.",
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Write the bytes of --encoding to standard output.")
@click.option(
    _DRY_RUN,
    type=click.Choice((TEXT, CODES)),
    is_flag=False,
    flag_value=TEXT,
    metavar="[=codes]",
    help="Show segments and tokens instead of speaking; with =codes, also make the codes.",
)
@json_option
@speech_options
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@server_options(None)
def say(
    *,
    server: Server,
    text: str | None,
    file: str | None,
    output: Path | None,
    play: bool,
    prebuffer_ms: int,
    to_stdout: bool,
    dry_run: str | None,
    as_json: bool,
    quiet: bool,
    **speech: Any,
) -> None:
    """Speak TEXT, a file, or what is piped in, sentence by sentence as it arrives."""
    wishes = Wishes(output, play, to_stdout, prebuffer_ms)
    options = options_of(speech)
    if dry_run:
        _show(server, read_text(text, file), options, dry_run, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json needs --dry-run")
    wishes.check()
    run(_speak(server, wishes, read_text(text, file), options, is_quiet=quiet))


def _show(server: Server, text: str | None, options: Options, what: str, *, as_json: bool) -> None:
    text = read_stdin() if text is None else text
    analysis = run(analyze(server, text, options, with_codes=what == CODES))
    print_analysis(analysis, text, as_json=as_json)


async def _speak(server: Server, wishes: Wishes, text: str | None, options: Options, *, is_quiet: bool) -> None:
    await Speaker(wishes, is_quiet=is_quiet).speak(server, text, options)
