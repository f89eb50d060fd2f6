"""Which chunk of which call a listener had to wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.load.call import Call
from bench.load.run import Results, Run


@dataclass(frozen=True)
class Underrun:
    """A chunk that came too late."""

    setting: str
    load: str
    """What else was asked of the system, such as ``3 streams, heard``."""
    stream: int
    """From 1; of calls that belong to no stream 0."""
    call: int
    """From 1, within its stream or load."""
    characters: int
    seed: int
    """Of the call's speech."""
    chunk: int
    """Index of the late chunk in its call; 0 is the first, which is never late."""
    chunks: int
    """Of the call."""
    speech_s: float
    """Where in the speech the listener ran dry."""
    after_s: float
    """When, from the call's request."""
    late_ms: float
    """How long the silence was."""


def of_run(run: Run) -> list[Underrun]:
    """All underruns of a run, those of the first setting first."""
    return [each for results in run.results for each in _of_results(results)]


def worst(found: Sequence[Underrun], count: int) -> list[Underrun]:
    """The longest silences, longest first."""
    return sorted(found, key=lambda each: each.late_ms, reverse=True)[:count]


def as_json(found: Sequence[Underrun]) -> list[dict[str, object]]:
    return [asdict(each) for each in found]


def table(found: Sequence[Underrun]) -> str:
    """A Markdown table."""
    lines = ["| ms late | load | setting | stream, call | chunk | at s of the speech | characters | seed |"]
    lines.append("|---:|---|---|---|---|---:|---:|---:|")
    for each in found:
        place = f"{each.stream}, {each.call}" if each.stream else f"-, {each.call}"
        lines.append(
            f"| {each.late_ms:.1f} | {each.load} | {each.setting} | {place} | {each.chunk} of {each.chunks} "
            f"| {each.speech_s:.2f} | {each.characters} | {each.seed} |"
        )
    return "\n".join(lines)


def _of_results(results: Results) -> Iterator[Underrun]:
    label = results.setting.label
    yield from _of_calls(label, "one at a time", 0, results.calls)
    for length, calls in results.lengths.items():
        yield from _of_calls(label, f"{length} characters", 0, calls)
    for pace, loads in results.streams.items():
        for count, load in loads.items():
            for stream, own in enumerate(load.streams, start=1):
                yield from _of_calls(label, f"{count} streams, {pace.value}", stream, own)
    for rate, load in results.rates.items():
        yield from _of_calls(label, f"{rate:g} per second", 0, load.calls)


def _of_calls(setting: str, load: str, stream: int, calls: Sequence[Call]) -> Iterator[Underrun]:
    for number, call in enumerate(calls, start=1):
        for gap in call.gaps:
            yield Underrun(
                setting=setting,
                load=load,
                stream=stream,
                call=number,
                characters=call.characters,
                seed=call.seed,
                chunk=gap.piece,
                chunks=len(call.pieces),
                speech_s=round(sum(piece.seconds for piece in call.pieces[: gap.piece]), 3),
                after_s=round(gap.began - call.asked, 3),
                late_ms=round(1000 * gap.seconds, 2),
            )
