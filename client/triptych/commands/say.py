"""`triptych say`: text in, speech to a file, a pipe or the sound card."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from triptych.audio import Audio, Timings, Utterance, WavWriter
from triptych.client import Client
from triptych.commands.connection import address_option, run, timeout_option
from triptych.commands.text_input import pieces_of, pieces_of_stdin, read_text
from triptych.options import EMOTIONS, Emotion, Options, Render, Sampling
from triptych.playback import Player
from triptych.text_stream import TextStream

_LONG_CHARACTERS = 200
"""From here on a text gets a progress bar."""
_STREAMED_CHARACTERS = 2000
"""From here on a text is sent in pieces, which has no limit of length."""


def _strengths(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float] | None:
    """Read `happy=0.6,calm=0.2`."""
    if value is None:
        return None
    strengths = {}
    for item in value.split(","):
        name, _, number = item.partition("=")
        if name.strip() not in EMOTIONS:
            known = ", ".join(EMOTIONS)
            raise click.BadParameter(f"no emotion is called {name.strip()!r}; known: {known}", ctx, param)
        try:
            strengths[name.strip()] = float(number)
        except ValueError:
            raise click.BadParameter(f"{item!r}: write NAME=NUMBER", ctx, param) from None
    return strengths


@dataclass(frozen=True)
class Destination:
    """Where the speech goes; any of these at once."""

    file: Path | None
    is_played: bool
    is_piped: bool

    def check(self) -> None:
        """Refuse before anything is asked of the server.

        Raises:
            click.UsageError: if nothing would come of the speech.
        """
        if not (self.file or self.is_played or self.is_piped):
            raise click.UsageError("say where the speech goes: --output FILE, --play or --stdout")
        if self.is_piped and sys.stdout.isatty():
            raise click.UsageError("--stdout writes raw PCM, which is not for a terminal: pipe it somewhere")
        if self.file and not self.file.parent.is_dir():
            raise click.UsageError(f"there is no folder {self.file.parent}")
        if self.file and self.file.exists() and not self.file.is_file():
            raise click.UsageError(f"{self.file} is not a file that a WAV can be written to")


@click.command()
@click.argument("text", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read the text from FILE; '-' is standard input.")
@click.option("-v", "--voice", metavar="NAME|FILE", help="A registered voice, or a recording of the speaker.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a 16-bit WAV file.")
@click.option("--play", is_flag=True, help="Play on the sound card.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Write raw 16-bit PCM to standard output.")
@click.option("--model", metavar="NAME", help="A model of `triptych models`.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="The same seed gives the same speech.")
@click.option(
    "--emotion",
    metavar="NAME=STRENGTH,…",
    callback=_strengths,
    help=f"Strengths from 0 to 1 of: {', '.join(EMOTIONS)}.",
)
@click.option("--emotion-voice", metavar="NAME|FILE", help="A recording that carries the emotion.")
@click.option("--emotion-weight", type=float, help="How much of it, from 0 to 1.")
@click.option("--temperature", type=float, help="How freely codes are drawn.")
@click.option("--top-p", type=float, help="Draw from the likeliest codes with this much probability.")
@click.option("--top-k", type=int, help="Draw from this many of the likeliest codes; 0 is off.")
@click.option("--greedy", is_flag=True, help="Take the likeliest code each time.")
@click.option("--steps", type=int, help="Steps of the flow-matching solver.")
@click.option("--cfg-rate", type=float, help="Strength of classifier-free guidance.")
@click.option("--policy", metavar="NAME", help="'streaming' (windows) or 'whole' (a segment at a time).")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@address_option
@timeout_option(None)
def say(
    *,
    text: str | None,
    file: str | None,
    output: Path | None,
    play: bool,
    to_stdout: bool,
    quiet: bool,
    address: str,
    **settings: Any,
) -> None:
    """Speak TEXT, a file, or what is piped in as it arrives."""
    destination = Destination(output, play, to_stdout)
    destination.check()
    speaker = Speaker(destination, is_quiet=quiet)
    run(speaker.speak(address, read_text(text, file), _options(settings)))


def _options(settings: dict[str, Any]) -> Options:
    options = {name: settings[name] for name in ("voice", "model", "seed", "timeout")}
    sampling = Sampling(
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        top_k=settings["top_k"],
        is_greedy=settings["greedy"],
    )
    render = Render(steps=settings["steps"], cfg_rate=settings["cfg_rate"], policy=settings["policy"] or "")
    if settings["emotion"] and settings["emotion_voice"]:
        raise click.UsageError("give --emotion or --emotion-voice, not both")
    if settings["emotion"] or settings["emotion_voice"]:
        options["emotion"] = Emotion(
            strengths=settings["emotion"],
            voice=settings["emotion_voice"],
            weight=settings["emotion_weight"],
        )
    elif settings["emotion_weight"] is not None:
        raise click.UsageError("--emotion-weight needs --emotion or --emotion-voice")
    options |= {"sampling": sampling, "render": render}
    return cast("Options", {name: value for name, value in options.items() if value is not None})


class Speaker:
    """Takes one speech from the server to its destinations."""

    def __init__(self, destination: Destination, *, is_quiet: bool) -> None:
        self._destination = destination
        self._is_quiet = is_quiet
        self._player = Player() if destination.is_played else None
        self._writer = WavWriter(destination.file) if destination.file else None
        self._messages = Console(stderr=True, highlight=False, soft_wrap=True)
        self._utterance: Utterance | None = None
        self._timings: Timings | None = None
        self._seconds = 0.0
        self._first_audio_seconds = 0.0

    async def speak(self, address: str, text: str | None, options: Options) -> None:
        started = monotonic()
        try:
            async with Client(address) as client:
                with self._progress(text) as progress:
                    async with aclosing(_audio(client, text, options)) as stream:
                        async for audio in stream:
                            self._first_audio_seconds = self._first_audio_seconds or monotonic() - started
                            await self._deliver(audio)
                            self._report(progress, audio)
            if self._player:
                await self._player.finish()
        finally:
            if self._writer:
                self._writer.close()
            if self._player:
                self._player.close()
        if not self._is_quiet:
            self._summarise(monotonic() - started)

    async def _deliver(self, audio: Audio) -> None:
        self._seconds += audio.duration_seconds
        self._utterance = audio.utterance or self._utterance
        self._timings = audio.timings or self._timings
        if not len(audio.samples):
            return
        if self._writer:
            self._writer.write(audio.samples, audio.sample_rate_hz)
        if self._destination.is_piped:
            data = audio.samples.astype("<i2", copy=False).tobytes()
            await asyncio.to_thread(_write_stdout, data)
        if self._player:
            await self._player.play(audio.samples, audio.sample_rate_hz)

    def _progress(self, text: str | None) -> Progress | nullcontext[None]:
        is_long = text is None or len(text) >= _LONG_CHARACTERS
        if self._is_quiet or not is_long or not self._messages.is_terminal:
            return nullcontext()
        progress = Progress(
            TextColumn("speaking"),
            BarColumn(),
            TextColumn("{task.fields[seconds]:.1f} s of speech"),
            TimeElapsedColumn(),
            console=self._messages,
            transient=True,
        )
        progress.add_task("", total=len(text) if text else None, seconds=0.0)
        return progress

    def _report(self, progress: Progress | None, audio: Audio) -> None:
        if progress is None:
            return
        progress.update(TaskID(0), seconds=self._seconds)
        if audio.segment_end and progress.tasks[0].total:
            progress.update(TaskID(0), completed=audio.segment_end.text_end)

    def _summarise(self, elapsed: float) -> None:
        name = f"{self._destination.file}: " if self._destination.file else ""
        utterance = self._utterance
        decided = f", seed {utterance.seed}, voice {utterance.voice_id[:12]}" if utterance else ""
        self._messages.print(
            f"{name}{self._seconds:.2f} s of speech in {elapsed:.2f} s, "
            f"first audio after {1000 * self._first_audio_seconds:.0f} ms{decided}",
            markup=False,
        )


def _audio(client: Client, text: str | None, options: Options) -> TextStream | AsyncGenerator[Audio, None]:
    if text is None:
        return client.stream_text(pieces_of_stdin(), **options)
    if len(text) >= _STREAMED_CHARACTERS:
        return client.stream_text(pieces_of(text), **options)
    return client.synthesize_stream(text, **options)


def _write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
