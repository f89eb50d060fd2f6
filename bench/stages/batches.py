"""How long the engines take for several utterances at once, by the clock, on a machine that does nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from bench.stages import gpt, s2mel
from bench.stages.sessions import WHOLE, open_session, step_all
from bench.stages.vocoder import Run, columns_of
from bench.stages.workload import Sizes, Workload
from services.common.stage.engine import Engine
from services.common.stage.session import Session


@dataclass(frozen=True)
class Decoded:
    """A batch of utterances through the GPT."""

    first_seconds: float
    """Until all had their first code."""
    step_seconds: float
    """Of one further code of each."""


def decode(engine: Engine, sizes: Sizes, load: Workload, streams: int) -> Decoded:
    """Decode the workload's codes in so many sessions at once, in a voice that was used before."""
    gpt.meet_voice(engine, sizes, load)
    sessions = [gpt.open_on(engine, sizes, load, load.codes) for _ in range(streams)]
    started = perf_counter()
    left, codes, first = streams, 0, 0.0
    for chunks in step_all(engine, sessions):
        left -= sum(chunk.start == 0 and chunk.length > 0 for chunk in chunks)
        codes += sum(chunk.length for chunk in chunks)
        if not left and not first:
            first, codes = perf_counter() - started, 0
    seconds = perf_counter() - started - first
    _close(engine, sessions)
    return Decoded(first, seconds * streams / max(1, codes))


def render(engine: Engine, sizes: Sizes, load: Workload, streams: int) -> float:
    """Seconds until as many whole renders of the workload's codes are there, all pushed at once."""
    voice, chunk = s2mel.voice_of(sizes, load), s2mel.code_chunk(sizes, load)
    params = {"steps": load.steps, "cfg_rate": load.cfg_rate}
    sessions = [open_session(engine, voice, WHOLE, params) for _ in range(streams)]
    started = perf_counter()
    for session in sessions:
        engine.push(session, chunk)
    frames = sum(each.length for chunks in step_all(engine, sessions) for each in chunks)
    seconds = perf_counter() - started
    assert frames == streams * load.frames
    _close(engine, sessions)
    return seconds


def vocode(run: Run, sizes: Sizes, num_frames: int, streams: int) -> float:
    """Seconds of a batch of mels, from host to host."""
    columns = columns_of(sizes, num_frames, streams)
    started = perf_counter()
    run(columns)
    return perf_counter() - started


def _close(engine: Engine, sessions: Sequence[Session]) -> None:
    for session in sessions:
        engine.close(session)
