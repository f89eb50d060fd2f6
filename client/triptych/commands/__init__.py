"""The command `triptych`.

Exit codes: 0 done; 1 the server or this machine could not do it, and one line on standard error says why; 2 wrong
usage; 130 interrupted; 141 the reader of standard output has gone; 143 told to end. The last three are what a shell
says of a program that its signal has ended.
"""

from __future__ import annotations

import os
import sys

import click

from triptych.commands.bench import bench
from triptych.commands.completion import PROGRAM, completion
from triptych.commands.connection import EndedBySignalError
from triptych.commands.output import PipeClosedError
from triptych.commands.say import say
from triptych.commands.sound_file import OutputError
from triptych.commands.state import health, models
from triptych.commands.voices import voices
from triptych.errors import TtsError
from triptych.playback import PlaybackError

INTERRUPTED = 130
PIPE_CLOSED = 141

_WORTH_A_LOOK = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
"""After these the server's log tells more than its answer."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="triptych", prog_name=PROGRAM)
def cli() -> None:
    """Speak through a Triptych text-to-speech server."""


for command in (say, voices, health, models, bench, completion):
    cli.add_command(command)


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        code = cli.main(prog_name=PROGRAM, standalone_mode=False)
    except click.Abort:
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EndedBySignalError as error:
        code = error.exit_code
    except PipeClosedError:
        # Keep Python from writing what is left at exit, and from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    except TtsError as error:
        code = _fail(_explain(error))
    except (OutputError, PlaybackError) as error:
        code = _fail(str(error))
    except OSError as error:
        code = _fail(f"{error.filename or 'output'}: {error.strerror}")
    sys.exit(code)


def _explain(error: TtsError) -> str:
    # A reason is for those who look it up in the server's documentation; what failed here is plain without it.
    is_told_by_server = error.status and error.reason and error.reason != error.message
    text = f"{error.reason}: {error.message}" if is_told_by_server else error.message
    if error.field and error.field not in text:
        text += f" ({error.field})"
    if error.retry_after_seconds is not None:
        text += f"; try again in {error.retry_after_seconds:g} s"
    if error.utterance_id and error.status in _WORTH_A_LOOK:
        text += f"; the server's log knows it as {error.utterance_id}"
    return text


def _fail(message: str) -> int:
    click.echo(f"triptych: {message}", err=True)
    return 1
