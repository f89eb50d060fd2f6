"""`triptych say --dry-run`: what would be spoken, for a reader or for a program."""

from __future__ import annotations

import itertools
import sys

import click
from rich.table import Table

from triptych.analysis import Analysis, AnalyzedSegment
from triptych.commands.connection import Server
from triptych.commands.emotion_voice import with_registered_emotion
from triptych.commands.output import print_json, print_out
from triptych.options import Options

TEXT, CODES = "text", "codes"


async def analyze(server: Server, text: str, options: Options, *, with_codes: bool) -> Analysis:
    async with server.client() as client:
        options = await with_registered_emotion(client, options, lambda message: click.echo(message, err=True))
        return await client.analyze(text, with_codes=with_codes, **options)


def print_analysis(analysis: Analysis, text: str, *, as_json: bool) -> None:
    """Print each segment with the part of `text` that it covers."""
    if as_json:
        print_json(analysis)
        return
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("model", f"{analysis.model}, revision {analysis.model_revision}")
    facts.add_row("language", analysis.language)
    facts.add_row("used", f"{analysis.usage.characters} characters, {analysis.usage.text_tokens} tokens")
    if analysis.utterance:
        facts.add_row("seed", str(analysis.utterance.seed))
        facts.add_row("voice", analysis.utterance.voice_id)
    print_out(facts, "", _segments(analysis, text))
    for warning in itertools.chain(analysis.warnings, *(segment.warnings for segment in analysis.segments)):
        print_out(f"warning: at character {warning.text_span.start}: {warning.message}")
    for segment in analysis.segments:
        if segment.codes:
            print_out(f"codes of segment {segment.index}: {_codes(segment)}")


def read_stdin() -> str:
    """Read all of standard input: a dry run looks at a whole text.

    Raises:
        click.UsageError: if it is no text.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError("standard input is not UTF-8 text") from None


def _segments(analysis: Analysis, text: str) -> Table:
    table = Table("SEGMENT", "CHARACTERS", "TEXT", "SPOKEN AS", "TOKENS", "PIECES", box=None)
    with_codes = analysis.utterance is not None
    if with_codes:
        table.add_column("CODES")
        table.add_column("END")
    for segment in analysis.segments:
        start, end = segment.text_span
        row = [str(segment.index), f"{start} to {end}", text[start:end].strip(), segment.normalized_text]
        row += [str(len(segment.tokens)), " ".join(token.piece for token in segment.tokens)]
        row += [str(len(segment.codes) // max(segment.codebooks, 1)), segment.finish_reason] if with_codes else []
        table.add_row(*row)
    return table


def _codes(segment: AnalyzedSegment) -> str:
    """Write the codes of one instant joined by colons."""
    width = max(segment.codebooks, 1)
    instants = (segment.codes[start : start + width] for start in range(0, len(segment.codes), width))
    return " ".join(":".join(map(str, instant)) for instant in instants)
