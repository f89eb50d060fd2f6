"""Seams in numbers: the default profile alone, speech after speech, in a process of its own.

The worst place of a blend is judged by its 95th percentile, which needs far more seams than the other figures need
speeches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.quality.comparison import add_seams
from bench.quality.material import Material
from bench.quality.policies import Variant
from bench.quality.scores import Score, Sound
from bench.quality.stages import load_stages


@dataclass(frozen=True)
class SeamTask:
    """What the process has to know."""

    model_dir: Path
    voices: Path
    first: int
    """Number of its first speech: none is rendered twice."""
    num_seams: int
    variant: Variant
    sound: Sound
    dtype: str
    """As for `load_stages`."""


@contextmanager
def score_elsewhere(task: SeamTask) -> Iterator[Callable[[], Score]]:
    """Begin at once, give what waits for the score, and end the process with the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(task, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield partial(_receive, ours)
    finally:
        process.terminate()
        process.join()


def _receive(pipe: Connection) -> Score:
    """Wait for the score.

    Raises:
        RuntimeError: The process ended without; it has said why on stderr.
    """
    try:
        found = pipe.recv()
    except EOFError:
        raise RuntimeError("the process that makes seams ended without them") from None
    assert isinstance(found, Score)
    return found


def _send(task: SeamTask, pipe: Connection) -> None:
    torch.set_num_threads(1)
    made = Score(task.variant, task.sound)
    stages = load_stages(task.model_dir, task.dtype)
    speeches = Material(stages, task.model_dir, task.voices, task.first)
    add_seams(stages, speeches, made, task.num_seams, progress=lambda text: print(text, file=sys.stderr))
    pipe.send(made)
