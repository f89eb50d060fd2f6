"""Which ways of each stage are compared on a CPU, and what each measure saves against the published way."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bench.stages import gpt, s2mel, vocoder, vocoder_graph
from bench.stages.cpu_clock import Spent, Work, interleave
from bench.stages.workload import Modes, Sizes, Workload
from services.common.devices import numeric_mode
from services.common.stage.engine import Engine
from services.s2mel_worker.model.stage import S2MelStageModel

COMPAT, OURS = "compat", "ours"

_VOCODER_ROUNDS = 2
_FEWEST_STEPS = 8
"""In which early and late steps stand in about the same proportion as in all."""


@dataclass(frozen=True)
class Extent:
    """How much of the workload is run; what is left out is scaled linearly."""

    codes: int
    steps: int
    other_codes: int
    """Of the ways that are neither the published one nor the one that counts."""
    other_steps: int


@dataclass(frozen=True)
class Row:
    """One way of one stage."""

    stage: str
    label: str
    spent: Spent
    compat_seconds: float
    role: str = ""
    """`compat`, `ours`, or nothing for a way that is only shown."""

    @property
    def saved_seconds(self) -> float:
        return self.compat_seconds - self.spent.total


def measure(sizes: Sizes, load: Workload, extent: Extent, modes: Modes) -> Iterator[Row]:
    """Measure stage after stage; the memory of one is given back before the next."""
    yield from _gpt(sizes, load, extent, modes)
    gc.collect()
    yield from _s2mel(sizes, load, extent, modes)
    gc.collect()
    yield from _vocoder(sizes, load)


def _rows(stage: str, works: Mapping[str, Work], ours: str) -> Iterator[Row]:
    """`works` begins with the published way."""
    spent = interleave(works)
    published = next(iter(works))
    for label, each in spent.items():
        role = COMPAT if label == published else OURS if label == ours else ""
        yield Row(stage, label, each, spent[published].total, role)


def _gpt(sizes: Sizes, load: Workload, extent: Extent, modes: Modes) -> Iterator[Row]:
    stage = gpt.make_stage(sizes)
    works = {"published, with second pass, fp32": gpt.plain(stage, sizes, load, extent.codes)}
    for dtype in dict.fromkeys(("fp32", "fp16", "bf16", modes.gpt)):
        count = extent.codes if dtype == modes.gpt else extent.other_codes
        mode = numeric_mode(dtype)
        engine = gpt.make_engine(gpt.in_mode(stage, mode), sizes, mode=mode)
        works[_gpt_label(dtype)] = gpt.served(engine, sizes, load, count)
    yield from _rows("gpt", works, _gpt_label(modes.gpt))


def _gpt_label(dtype: str) -> str:
    return f"engine, latents captured, {dtype}"


def _s2mel(sizes: Sizes, load: Workload, extent: Extent, modes: Modes) -> Iterator[Row]:
    stage = s2mel.make_stage(sizes)
    works = {"published, fp32": s2mel.plain(stage, sizes, load, extent.steps)}
    engines = {dtype: _s2mel_engine(stage, sizes, dtype) for dtype in dict.fromkeys(("fp32", modes.s2mel))}
    for dtype, engine in engines.items():
        works[_s2mel_label(dtype)] = s2mel.served(engine, sizes, load, extent.other_steps)
    fast = engines[modes.s2mel]
    ours = f"the same, {modes.s2mel}, guidance at every {modes.guidance_interval}. late step"
    # A part of the steps would leave out the late ones, which cost less.
    works[ours] = s2mel.served(
        fast, sizes, load, max(extent.steps, _FEWEST_STEPS), guidance_interval=modes.guidance_interval
    )
    shorter = replace(load, prompt_frames=load.prompt_frames * 3 // 5)
    works[f"the same, {modes.s2mel}, prompt of 3 s"] = s2mel.served(fast, sizes, shorter, extent.other_steps)
    for policy in fast.spec.streaming_policies:
        label = f"the same, {modes.s2mel}, streamed in windows of {policy.name}"
        works[label] = s2mel.served(fast, sizes, load, extent.other_steps, policy)
    yield from _rows("s2mel", works, ours)


def _s2mel_engine(stage: S2MelStageModel, sizes: Sizes, dtype: str) -> Engine:
    mode = numeric_mode(dtype)
    return s2mel.make_engine(s2mel.in_mode(stage, mode), sizes, mode=mode)


def _s2mel_label(dtype: str) -> str:
    return f"engine, whole render, {dtype}"


def _vocoder(sizes: Sizes, load: Workload) -> Iterator[Row]:
    network = vocoder.make_network(sizes)
    session = vocoder_graph.make_session(network)
    works = {
        "torch, fp32": vocoder.plain(network, sizes, load, _VOCODER_ROUNDS),
        "ONNX Runtime": vocoder_graph.served(session, sizes, load, _VOCODER_ROUNDS),
    }
    yield from _rows("vocoder", works, "ONNX Runtime")
