"""The command `triptych`.

Exit codes: 0 done, 1 the server or this machine could not do it (one line on stderr says why),
2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from triptych.commands.say import say
from triptych.commands.state import health, models
from triptych.commands.voices import voices
from triptych.errors import TtsError
from triptych.playback import PlaybackError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="triptych", prog_name="triptych")
def cli() -> None:
    """Speak through a Triptych text-to-speech server."""


for command in (say, voices, health, models):
    cli.add_command(command)


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        code = cli.main(prog_name="triptych", standalone_mode=False)
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except TtsError as error:
        code = _fail(_explain(error))
    except PlaybackError as error:
        code = _fail(str(error))
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of our output has gone; keep Python from complaining about it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        else:
            code = _fail(f"{error.filename or 'output'}: {error.strerror}")
    sys.exit(code)


def _explain(error: TtsError) -> str:
    text = error.message
    if error.field and error.field not in text:
        text += f" ({error.field})"
    if error.retry_after_seconds is not None:
        text += f"; try again in {error.retry_after_seconds:g} s"
    return text


def _fail(message: str) -> int:
    click.echo(f"triptych: {message}", err=True)
    return 1
