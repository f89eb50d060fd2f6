"""The rows of the GPU table: every stage for several numbers of streams, and what follows from them together."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from bench import report
from bench.stages import encoder_weights, gpt, s2mel, vocoder
from bench.stages.batches import Decoded, decode, render, vocode
from bench.stages.gpu_memory import Part, Run
from bench.stages.workload import FRAMES_PER_SECOND, Sizes, Workload
from services.common.devices import numeric_mode
from services.common.stage.engine import Engine
from services.common.stage.settings import StageSettings
from services.s2mel_worker.model.windows import frames_of

FIRST_AUDIO_GOALS = {1: "<= 150", 8: "<= 400", 16: "<= 800"}
"""In milliseconds, by number of streams, on one H200."""
_ROUNDS = 3


@dataclass(frozen=True)
class Setting:
    """What is measured, and on what."""

    sizes: Sizes
    load: Workload
    device: str
    dtype: str
    """A word of the setting `dtype`."""
    streams: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def mode(self) -> str:
        return numeric_mode(self.dtype)

    @property
    def slots(self) -> int:
        """Of each stage: as many as workers have by default, or as there are streams."""
        usual: int = StageSettings.model_fields["slots"].default
        return max(usual, *self.streams)


@dataclass(frozen=True)
class Vocoder:
    """Whatever runs BigVGAN here."""

    label: str
    run: vocoder.Run


@dataclass(frozen=True)
class Stages:
    """The three stages in memory together, without voice encoders."""

    gpt: Engine
    s2mel: Engine
    vocoder: Vocoder


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    stage: str
    label: str
    streams: int
    milliseconds: float
    audio_per_second: float
    """Seconds of audio that the stage makes in a second."""


def load_stages(setting: Setting) -> Stages:
    return Stages(load_gpt(setting), load_s2mel(setting), load_vocoder(setting))


def load_gpt(setting: Setting) -> Engine:
    stage = gpt.make_stage(setting.sizes, setting.device)
    # In place, as in the workers, so that the float32 weights go.
    stage.voice.gpt.convert(setting.mode)
    return gpt.make_engine(stage, setting.sizes, mode=setting.mode, slots=setting.slots)


def load_s2mel(setting: Setting, *, has_encoders: bool = True) -> Engine:
    stage = s2mel.make_stage(setting.sizes, setting.device)
    if not has_encoders:
        stage.campplus.to("meta")
        stage.codec.encoder.to("meta")
    stage.serve(getattr(torch, setting.mode))
    return s2mel.make_engine(stage, setting.sizes, mode=setting.mode, slots=setting.slots)


def load_vocoder(setting: Setting) -> Vocoder:
    return Vocoder(*vocoder.fastest(vocoder.make_network(setting.sizes, setting.device), setting.mode))


def memory_parts(setting: Setting, *, has_encoders: bool) -> list[Part]:
    """The stages as their workers hold them, each with a run of its workload for as many streams as there are."""
    streams = max(setting.streams)

    def gpt_part() -> Run:
        kept = encoder_weights.allocate(setting.device) if has_encoders else []
        engine = load_gpt(setting)
        return lambda: (kept, decode(engine, setting.sizes, setting.load, streams))

    def s2mel_part() -> Run:
        engine = load_s2mel(setting, has_encoders=has_encoders)
        return lambda: render(engine, setting.sizes, setting.load, streams)

    def vocoder_part() -> Run:
        run = load_vocoder(setting).run
        return lambda: vocode(run, setting.sizes, setting.load.frames, streams)

    return [Part("gpt", gpt_part), Part("s2mel", s2mel_part), Part("vocoder", vocoder_part)]


def least(compute: Callable[[], float]) -> float:
    """The least of several runs after one that captures graphs and chooses kernels: what others do can only add."""
    compute()
    return min(compute() for _ in range(_ROUNDS))


def gpt_rows(stages: Stages, setting: Setting) -> Iterator[Row]:
    for streams in setting.streams:
        decoded = _decoded(stages, setting.sizes, setting.load, streams)
        yield Row("gpt", "first code of all", streams, 1000 * decoded.first_seconds, 0.0)
        rate = streams / decoded.step_seconds * setting.load.audio_seconds / setting.load.codes
        yield Row("gpt", "decode step", streams, 1000 * decoded.step_seconds, rate)


def _decoded(stages: Stages, sizes: Sizes, load: Workload, streams: int) -> Decoded:
    runs = [decode(stages.gpt, sizes, load, streams) for _ in range(2)]
    return runs[-1]


def s2mel_rows(stages: Stages, setting: Setting) -> Iterator[Row]:
    first = first_window(stages, setting.load)
    for steps in setting.steps:
        for streams in setting.streams:
            for name, load in (("first window", first), ("whole render", setting.load)):
                stepped = replace(load, steps=steps)
                seconds = least(partial(render, stages.s2mel, setting.sizes, stepped, streams))
                label = f"{name}, {load.codes} codes, {steps} steps"
                yield Row("s2mel", label, streams, 1000 * seconds, streams * load.audio_seconds / seconds)


def first_window(stages: Stages, load: Workload) -> Workload:
    """The default policy's first window with its look-ahead."""
    policy = stages.s2mel.spec.default_policy
    prompt = min(load.prompt_frames, int(policy.prompt_seconds * FRAMES_PER_SECOND))
    return replace(load, codes=policy.first_window_codes + policy.look_ahead_codes, prompt_frames=prompt)


def vocoder_rows(stages: Stages, setting: Setting) -> Iterator[Row]:
    policy = stages.s2mel.spec.default_policy
    for num_frames in (frames_of(policy.first_window_codes), setting.load.frames):
        for streams in setting.streams:
            seconds = least(partial(vocode, stages.vocoder.run, setting.sizes, num_frames, streams))
            rate = streams * num_frames / FRAMES_PER_SECOND / seconds
            yield Row("vocoder", f"{num_frames} frames, {stages.vocoder.label}", streams, 1000 * seconds, rate)


def composed(rows: Sequence[Row], stages: Stages, setting: Setting) -> report.Figures:
    """First audio and real-time factor put together from the stages, without text, transport and gateway."""
    policy, made = stages.s2mel.spec.default_policy, report.Figures()
    codes = policy.first_window_codes + max(1, policy.look_ahead_codes)
    sound = f"{frames_of(policy.first_window_codes)} frames"
    for streams in setting.streams:
        ms = {(row.stage, row.label.partition(",")[0]): row.milliseconds for row in rows if row.streams == streams}
        window = next(row for row in rows if row.streams == streams and _is_window(row, setting))
        whole = next(row for row in rows if row.streams == streams and _is_whole(row, setting))
        step, start = ms["gpt", "decode step"], ms["gpt", "first code of all"]
        first = start + (codes - 1) * step + window.milliseconds + ms["vocoder", sound]
        goal = FIRST_AUDIO_GOALS.get(streams, "")
        made[f"composed_first_audio_ms.{streams}"] = report.figure(
            round(first, 1), "ms", goal, is_of_machine=True, policy=policy.name
        )
        if streams == 1:
            total = start + (setting.load.codes - 1) * step + whole.milliseconds + ms["vocoder", _whole_sound(setting)]
            made["composed_rtf"] = report.figure(
                round(total / 1000 / setting.load.audio_seconds, 4), "", "<= 0.08", is_of_machine=True
            )
    return made


def _whole_sound(setting: Setting) -> str:
    return f"{setting.load.frames} frames"


def _is_window(row: Row, setting: Setting) -> bool:
    return row.label.startswith("first window") and row.label.endswith(f" {setting.steps[0]} steps")


def _is_whole(row: Row, setting: Setting) -> bool:
    return row.label.startswith("whole render") and row.label.endswith(f" {setting.steps[0]} steps")


def forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
