"""`python -m bench.full_size DIR`: serve a full-size checkpoint here, speak about a second twice, say what it took.

Meant for `bench.random_checkpoint` with the vocoder exported: the networks, files and processes are those
of the published model, only what is heard is noise. Every worker has one slot.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import psutil
import torch
from triptych import AsyncClient, Audio, Render, Samples, Sampling, Segment, Timings, TtsError, Usage

from bench import report
from bench.local import GATEWAY, LocalSystem, StartError
from bench.local.progress import StatusLine
from services.s2mel_worker.model.windows import frames_of

TEXT = "The first light of the morning came over the hills."
RECORDING = Path("models/mini/voices/amber.flac")

_REPORT = Path("var/reports/full_size.json")
_SEED = 1
_START_SECONDS = 900.0
_CALL_SECONDS = 900.0
_FRAME_SAMPLES = 256
_SLOTS = {
    "gpt_worker": {"TTS_GPT_SLOTS": "1"},
    "s2mel_worker": {"TTS_S2MEL_SLOTS": "1"},
    "vocoder_worker": {"TTS_VOCODER_SLOTS": "1"},
}


@dataclass(frozen=True)
class Spoken:
    """One speech, and when it came."""

    samples: Samples
    first_audio_seconds: float
    total_seconds: float
    segments: tuple[Segment, ...]
    timings: Timings
    usage: Usage
    cpu_seconds: dict[str, float]
    """What each process computed for it."""

    @property
    def deviation(self) -> float:
        """Standard deviation of the samples in [-1, 1]."""
        return float(self.samples.std())

    @property
    def expected_samples(self) -> int:
        return sum(frames_of(segment.codes) * _FRAME_SAMPLES for segment in self.segments)


@dataclass(frozen=True)
class Use:
    """What one process has taken so far."""

    peak_bytes: int
    """Most resident memory, with the pages of weight files that it had mapped."""
    private_bytes: int
    """Resident now and not backed by a file."""
    cpu_seconds: float
    """Unlike the time by the clock, hardly lengthened by what else the machine does."""

    @classmethod
    def of(cls, pid: int) -> Use:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        peak, private = (int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon"))
        times = psutil.Process(pid).cpu_times()
        return cls(peak, private, times.user + times.system)


@dataclass
class Measured:
    """Everything that one run of this command finds."""

    load_seconds: dict[str, float] = field(default_factory=dict)
    """From the start of a process until its health says SERVING; all start at once."""
    loaded: dict[str, Use] = field(default_factory=dict)
    done: dict[str, Use] = field(default_factory=dict)
    voice_seconds: float = 0.0
    """Registering a voice, which computes its features in all stages."""
    speeches: list[Spoken] = field(default_factory=list)


class _LoadTimes:
    """Notes when each process serves first."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._started = monotonic()
        self._status = StatusLine()

    def __call__(self, serving: Mapping[str, bool]) -> None:
        for name, is_serving in serving.items():
            if is_serving and name not in self._seconds:
                self._seconds[name] = monotonic() - self._started
        self._status(serving)


def measure(arguments: argparse.Namespace) -> Measured:
    """Start the system, register a voice, speak twice, stop the system.

    Raises:
        StartError: if a process does not come up.
        TtsError: if a call fails.
    """
    found = Measured()
    with tempfile.TemporaryDirectory() as voices:
        environment = {**_SLOTS, GATEWAY: {"TTS_FRONTEND_VOICE_STORE": voices}}
        system = LocalSystem(arguments.directory, environment=environment, threads=arguments.threads)
        try:
            system.start(timeout_seconds=_START_SECONDS, report=_LoadTimes(found.load_seconds))
            found.loaded = _use(system)
            asyncio.run(_speak(system, arguments, found))
            found.done = _use(system)
        finally:
            system.stop()
    return found


def _use(system: LocalSystem) -> dict[str, Use]:
    return {name: Use.of(process.pid) for name, process in system.processes.items()}


async def _speak(system: LocalSystem, arguments: argparse.Namespace, found: Measured) -> None:
    async with AsyncClient(system.address, timeout=_CALL_SECONDS) as client:
        started = monotonic()
        await client.voices.create("someone", arguments.voice)
        found.voice_seconds = monotonic() - started
        for _ in range(2):
            found.speeches.append(await _speak_once(client, system, arguments))


async def _speak_once(client: AsyncClient, system: LocalSystem, arguments: argparse.Namespace) -> Spoken:
    stream = client.synthesize_stream(
        arguments.text,
        voice="someone",
        seed=_SEED,
        sampling=Sampling(max_codes=arguments.codes),
        render=Render(steps=arguments.steps),
        timeout=_CALL_SECONDS,
    )
    before, started = _use(system), monotonic()
    arrivals: list[tuple[float, Audio]] = [(monotonic() - started, audio) async for audio in stream]
    first_seconds = next(seconds for seconds, audio in arrivals if len(audio.samples))
    total_seconds, last = arrivals[-1]
    assert last.timings is not None
    assert last.usage is not None
    after = _use(system)
    return Spoken(
        samples=np.concatenate([audio.samples for _, audio in arrivals]),
        first_audio_seconds=first_seconds,
        total_seconds=total_seconds,
        segments=tuple(segment for _, audio in arrivals for segment in audio.segment_ends),
        timings=last.timings,
        usage=last.usage,
        cpu_seconds={name: use.cpu_seconds - before[name].cpu_seconds for name, use in after.items()},
    )


def figures(found: Measured) -> report.Figures:
    """Return what goes into the report; goals only where the machine does not matter."""
    made: report.Figures = {}
    for name, seconds in found.load_seconds.items():
        made[f"{name}.load"] = {"value": round(seconds, 1), "unit": "s"}
    for name, use in found.done.items():
        loaded = found.loaded[name]
        made[f"{name}.load_cpu"] = {"value": round(loaded.cpu_seconds, 1), "unit": "s"}
        made[f"{name}.load_peak"] = {"value": loaded.peak_bytes // 2**20, "unit": "MiB"}
        made[f"{name}.peak"] = {"value": use.peak_bytes // 2**20, "unit": "MiB"}
        made[f"{name}.private"] = {"value": use.private_bytes // 2**20, "unit": "MiB"}
    made["voice.create"] = {"value": round(found.voice_seconds, 2), "unit": "s"}
    for label, speech in zip(("first", "second"), found.speeches, strict=True):
        made[f"{label}.first_audio"] = {"value": round(speech.first_audio_seconds, 2), "unit": "s"}
        made[f"{label}.total"] = {"value": round(speech.total_seconds, 2), "unit": "s"}
        for name, seconds in speech.cpu_seconds.items():
            made[f"{label}.{name}.cpu"] = {"value": round(seconds, 2), "unit": "s"}
        for stage, milliseconds in speech.timings.compute_ms.items():
            made[f"{label}.{stage}.compute"] = {"value": round(milliseconds), "unit": "ms"}
        for stage, milliseconds in speech.timings.first_output_ms.items():
            made[f"{label}.{stage}.first_output"] = {"value": round(milliseconds), "unit": "ms"}
    return made | _checks(*found.speeches)


def _checks(first: Spoken, second: Spoken) -> report.Figures:
    lacking = abs(len(first.samples) - first.expected_samples)
    made: report.Figures = {
        "speech.audio": {"value": round(first.usage.audio_seconds, 3), "unit": "s"},
        "speech.codes": {"value": sum(segment.codes for segment in first.segments), "unit": "codes"},
        "speech.lacking": {"value": lacking, "unit": "samples", "goal": "<= 0", "met": not lacking},
    }
    deviation = round(first.deviation, 5)
    made["speech.deviation"] = {"value": deviation, "unit": "", "goal": ">= 0.001", "met": deviation >= 1e-3}
    if len(first.samples) == len(second.samples):
        difference = round(32768 * float(np.abs(first.samples - second.samples).max(initial=0)))
        is_same = difference <= 33
        made["speech.repeat_difference"] = {"value": difference, "unit": "steps", "goal": "<= 33", "met": is_same}
    else:
        made["speech.repeat_difference"] = {"value": None, "unit": "steps", "goal": "<= 33", "met": False}
    return made


def tables(found: Measured) -> str:
    lines = [f"{'process':16} {'load':>8} {'load CPU':>9} {'load peak':>11} {'peak':>10} {'private':>10}"]
    for name, use in found.done.items():
        loaded = found.loaded[name]
        sizes = (loaded.peak_bytes, use.peak_bytes, use.private_bytes)
        loading, peak, private = (f"{size / 2**20:.0f} MiB" for size in sizes)
        seconds = f"{found.load_seconds[name]:6.1f} s {loaded.cpu_seconds:7.1f} s"
        lines.append(f"{name:16} {seconds} {loading:>11} {peak:>10} {private:>10}")
    lines += ["", f"{'speech':22} {'first':>10} {'second':>10}"]
    for label, values in _speech_rows(found.speeches):
        lines.append(f"{label:22} " + " ".join(f"{value:>10}" for value in values))
    return "\n".join([*lines, "", f"voice registered in {found.voice_seconds:.2f} s"])


def _speech_rows(speeches: Sequence[Spoken]) -> list[tuple[str, list[str]]]:
    rows = [
        ("audio", [f"{speech.usage.audio_seconds:.2f} s" for speech in speeches]),
        ("first audio", [f"{speech.first_audio_seconds:.2f} s" for speech in speeches]),
        ("total", [f"{speech.total_seconds:.2f} s" for speech in speeches]),
        ("deviation", [f"{speech.deviation:.4f}" for speech in speeches]),
    ]
    first_output_ms = speeches[0].timings.first_output_ms
    for stage in sorted(speeches[0].timings.compute_ms, key=lambda stage: first_output_ms.get(stage, 0)):
        compute = [f"{speech.timings.compute_ms.get(stage, 0):.0f} ms" for speech in speeches]
        output = [f"{speech.timings.first_output_ms.get(stage, 0):.0f} ms" for speech in speeches]
        rows += [(f"{stage} compute", compute), (f"{stage} first output", output)]
    for name in speeches[0].cpu_seconds:
        rows.append((f"{name} CPU", [f"{speech.cpu_seconds[name]:.2f} s" for speech in speeches]))
    return rows


def machine_name(arguments: argparse.Namespace, share: float) -> str:
    return f"{report.machine(share)}, {arguments.threads} threads a worker, torch {torch.__version__}"


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    share = report.foreign_share()
    print(f"other processes take {share:.0%} of the CPU", file=sys.stderr)
    if share > report.MAX_FOREIGN_SHARE and not options.busy:
        print("more than 10 %: the times would say little; --busy measures all the same", file=sys.stderr)
        return 1
    try:
        found = measure(options)
    except (StartError, TtsError) as error:
        print(error, file=sys.stderr)
        return 1
    made = figures(found)
    print(tables(found))
    command = shlex.join(["python", "-m", "bench.full_size", *arguments])
    report.write(options.report, "full_size", command, machine_name(options, share), made)
    missed = [f"{key}: {figure['value']}, goal {figure['goal']}" for key, figure in made.items() if _is_missed(figure)]
    for line in missed:
        print(f"MISSED {line}")
    return 1 if missed else 0


def _is_missed(figure: Mapping[str, object]) -> bool:
    return figure.get("met") is False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.full_size", description=__doc__)
    parser.add_argument("directory", type=Path, help="checkpoint directory with vocoder.onnx")
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--voice", type=Path, default=RECORDING, help="recording to register")
    parser.add_argument("--codes", type=int, default=50, help="where a segment is cut; 50 are a second")
    parser.add_argument("--steps", type=int, default=4, help="of the flow")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker")
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    parser.add_argument("--report", type=Path, default=_REPORT)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
