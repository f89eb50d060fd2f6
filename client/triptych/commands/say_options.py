"""From what the user wrote after `triptych say` to the library's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import click

from triptych.commands.completion import complete_models, complete_parameters, complete_rules, complete_voices
from triptych.encodings import Encoding
from triptych.options import EMOTIONS, Emotion, Options, Render, Sampling
from triptych.recording import Recording, RecordingFile, is_name

Command = Callable[..., None]

_PLAIN = {
    "model": "model",
    "lang": "language",
    "seed": "seed",
    "instruction": "instruction",
    "rate": "speaking_rate",
    "params": "params",
    "glossary": "glossary",
    "no_rules": "disabled_rules",
    "encoding": "encoding",
    "sample_rate": "sample_rate_hz",
    "chunk_ms": "chunk_ms",
    "gap_ms": "segment_gap_ms",
    "tail_ms": "tail_silence_ms",
    "max_first_audio_ms": "max_first_audio_ms",
    "max_segment_tokens": "max_segment_tokens",
    "session_id": "session_id",
    "priority": "priority",
}
"""The option of the library for those of the command that are passed on as they are."""


def _strengths(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float] | None:
    """Read `happy=0.6,calm=0.2`."""
    if value is None:
        return None
    strengths = _numbers(ctx, param, tuple(value.split(",")))
    for name in strengths:
        if name not in EMOTIONS:
            known = ", ".join(EMOTIONS)
            raise click.BadParameter(f"no emotion is called {name!r}; known: {known}", ctx, param)
    return strengths


def _numbers(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, float]:
    """Read each `NAME=NUMBER`."""
    numbers = {}
    for item in value:
        name, _, number = item.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            raise click.BadParameter(f"{item!r}: write NAME=NUMBER", ctx, param) from None
    return numbers


def _readings(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """Read each `TERM=READING`."""
    readings = {}
    for item in value:
        term, _, reading = item.partition("=")
        if not term.strip() or not reading.strip():
            raise click.BadParameter(f"{item!r}: write TERM=READING", ctx, param)
        readings[term.strip()] = reading.strip()
    return readings


_SPEECH_OPTIONS = (
    click.option(
        "-v",
        "--voice",
        metavar="NAME|FILE",
        shell_complete=complete_voices,
        help="A voice of the server, or a recording of the speaker; else the server's default voice.",
    ),
    click.option(
        "--transcript", metavar="TEXT", help="What is said in the recording of --voice, for models that want it."
    ),
    click.option("--model", metavar="NAME", shell_complete=complete_models, help="A model of `triptych models`."),
    click.option("--lang", metavar="TAG", help="Language of the text, such as en; else it is detected."),
    click.option("--instruction", metavar="TEXT", help="How to speak, in words, for models that take it."),
    click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="The same seed gives the same speech."),
    click.option("--rate", type=float, help="Speaking rate from 0.5 to 2; 2 is twice as fast."),
    click.option(
        "--emotion",
        metavar="NAME=STRENGTH,…",
        callback=_strengths,
        help=f"Strengths from 0 to 1 of: {', '.join(EMOTIONS)}.",
    ),
    click.option(
        "--emotion-voice",
        metavar="NAME|FILE",
        shell_complete=complete_voices,
        help="A voice that carries the emotion; or a recording, which is registered unless it is already, and stays on "
        "the server under the name that is told.",
    ),
    click.option("--emotion-text", metavar="TEXT", help="The emotion in words, for models that take it."),
    click.option("--emotion-weight", type=float, help="How much of it, from 0 to 1."),
    click.option("--temperature", type=float, help="How freely codes are drawn."),
    click.option("--top-p", type=float, help="Draw from the likeliest codes with this much probability."),
    click.option("--top-k", type=int, help="Draw from this many of the likeliest codes; 0 is off."),
    click.option(
        "--repetition-penalty", type=float, help="How unlikely a code becomes that was drawn before; 1 is off."
    ),
    click.option("--max-codes", type=int, help="Cut the speech of a segment after so many codes."),
    click.option("--greedy", is_flag=True, help="Take the likeliest code each time."),
    click.option("--steps", type=int, help="Steps of the flow-matching solver."),
    click.option("--cfg-rate", type=float, help="Strength of classifier-free guidance."),
    click.option(
        "--policy",
        metavar="NAME",
        help="'streaming' (windows), 'whole' (a segment at a time) or 'compat' (step for step as published).",
    ),
    click.option(
        "--param",
        "params",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_numbers,
        shell_complete=complete_parameters,
        help="A further number of `triptych models`; may be repeated.",
    ),
    click.option(
        "--glossary",
        metavar="TERM=READING",
        multiple=True,
        callback=_readings,
        help="What is said instead of a term; may be repeated.",
    ),
    click.option(
        "--no-rule",
        "no_rules",
        metavar="NAME",
        multiple=True,
        shell_complete=complete_rules,
        help="Go without this text rule of `triptych models`; may be repeated.",
    ),
    click.option("--max-segment-tokens", type=int, help="Cut the text into segments of at most so many text tokens."),
    click.option("--encoding", type=click.Choice(get_args(Encoding)), help="Of the sound; else linear16."),
    click.option("--sample-rate", metavar="HZ", type=int, help="8000 to 48000; else the model's own."),
    click.option("--chunk-ms", type=int, help="Length of a piece, 20 to 100; 0 is as rendered.  [default: 40]"),
    click.option("--gap-ms", type=int, help="Silence between two segments.  [default: 200]"),
    click.option("--tail-ms", type=int, help="Silence at the end.  [default: 0]"),
    click.option("--max-first-audio-ms", type=int, help="Fail if nothing is heard by then."),
    click.option("--priority", type=click.Choice(("interactive", "batch")), help="Who is served first."),
    click.option("--session-id", metavar="TEXT", help="Your own name for a run of requests, which the server logs."),
)


def speech_options(command: Command) -> Command:
    """Add the options that say how to speak."""
    for option in reversed(_SPEECH_OPTIONS):
        command = option(command)
    return command


def options_of(given: dict[str, Any]) -> Options:
    """Return what the user set as the library's options; what is left out stays out.

    Raises:
        click.UsageError: if two options exclude each other, or one needs another.
        IoError: if the recording that a transcript is of cannot be read.
    """
    options = {name: given[key] for key, name in _PLAIN.items()}
    options["voice"] = _voice(given)
    options["emotion"] = _emotion(given)
    sampling = Sampling(
        temperature=given["temperature"],
        top_p=given["top_p"],
        top_k=given["top_k"],
        repetition_penalty=given["repetition_penalty"],
        max_codes=given["max_codes"],
        is_greedy=given["greedy"],
    )
    render = Render(steps=given["steps"], cfg_rate=given["cfg_rate"], policy=given["policy"] or "")
    options["sampling"] = sampling if sampling != Sampling() else None
    options["render"] = render if render != Render() else None
    return cast("Options", {name: value for name, value in options.items() if not _is_left_out(value)})


def _is_left_out(value: object) -> bool:
    return value is None or (isinstance(value, (dict, tuple)) and not value)


def _voice(given: dict[str, Any]) -> str | RecordingFile | None:
    """Return the voice as it was written or, with a transcript, as a recording."""
    voice, transcript = given["voice"], given["transcript"]
    if transcript is None:
        return cast("str | None", voice)
    if voice is None or is_name(voice):
        raise click.UsageError("--transcript needs --voice FILE: a voice of the server has a transcript of its own")
    return Recording.from_file(voice, transcript)


def _emotion(given: dict[str, Any]) -> Emotion | None:
    emotion = Emotion(
        strengths=given["emotion"],
        voice=given["emotion_voice"],
        text=given["emotion_text"],
        weight=given["emotion_weight"],
    )
    kinds = sum(kind is not None for kind in (emotion.strengths, emotion.voice, emotion.text))
    if kinds > 1:
        raise click.UsageError("give one of --emotion, --emotion-voice and --emotion-text")
    if kinds == 0 and emotion.weight is not None:
        raise click.UsageError("--emotion-weight needs --emotion, --emotion-voice or --emotion-text")
    return emotion if kinds else None
