"""The three engines of a checkpoint in this process, without gRPC, and what a recording becomes in them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.parity.gpt_side import read_audio
from services.common.arrays import Array, Tensors
from services.common.errors import TtsError
from services.common.stage.engine import Engine
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, Session
from services.common.stage.spec import StageSpec, VoiceStep
from services.gpt_worker import loading as gpt_loading
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker import engine as s2mel_engine
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.vocoder_worker import engine as vocoder_engine
from services.vocoder_worker.settings import VocoderWorkerSettings

_AUDIO_RATES_HZ = (16000, 22050)


@dataclass(frozen=True)
class Stages:
    """From text to sound."""

    gpt: Engine
    s2mel: Engine
    vocoder: Engine

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The checkpoint's profiles, the default one first."""
        return self.s2mel.spec.streaming_policies

    @property
    def whole(self) -> Policy:
        """The policy `whole`, with the best prompt and solver that the checkpoint has."""
        return next(policy for policy in self.s2mel.spec.policies if policy.is_whole)

    @property
    def frame_samples(self) -> int:
        """Samples of one mel frame."""
        mel = self.s2mel.spec.gives
        return self.sample_rate_hz * mel.rate_denominator // mel.rate_numerator

    @property
    def sample_rate_hz(self) -> int:
        return self.vocoder.spec.gives.sample_rate_hz


def load_stages(model_dir: Path, dtype: str) -> Stages:
    """Load all three with one thread each.

    Args:
        model_dir: The checkpoint.
        dtype: The workers' setting; whatever the environment says of it is left alone.

    Raises:
        CheckpointError: The checkpoint is not whole.
    """
    told: dict[str, Any] = {"model_dir": model_dir, "slots": 1, "dtype": dtype}
    return Stages(
        gpt_loading.load_engine(GptWorkerSettings(**told)),
        s2mel_engine.load_engine(S2MelWorkerSettings(**told)),
        vocoder_engine.load_engine(VocoderWorkerSettings(**told)),
    )


def voice_features(stages: Stages, recording: Path) -> Tensors:
    """Run the voice steps of all stages, each after those that give what it takes."""
    values: Tensors = {f"audio_{rate}": read_audio(recording, rate).numpy() for rate in _AUDIO_RATES_HZ}
    left = [(engine, step) for engine in (stages.gpt, stages.s2mel) for step in engine.spec.voice_steps]
    while left:
        engine, step = next(pair for pair in left if _inputs(pair[1]) <= values.keys())
        values |= engine.encode_voice(step.name, {name: values[name] for name in _inputs(step)})
        left.remove((engine, step))
    return values


def _inputs(step: VoiceStep) -> set[str]:
    return {spec.name for spec in step.takes}


class StageRun:
    """One session of an engine, alone in its steps; counts the CPU seconds that it takes.

    Raises:
        TtsError: from any method, when the engine refuses what it is given.
    """

    def __init__(
        self, engine: Engine, seed: int, policy: Policy, params: Mapping[str, float], voice: Mapping[str, Array]
    ) -> None:
        self._engine = engine
        self._session = _session(engine.spec, seed, policy, params, voice)
        self.cpu_seconds = 0.0
        """What pushes and steps took so far; opening is left out: it comes before the first code."""
        engine.open(self._session)

    def push(self, chunk: Chunk) -> Iterator[Chunk]:
        """Give the engine a chunk, then what comes out of it, one by one until it waits for more."""
        started = time.process_time()
        self._engine.push(self._session, chunk)
        while self._engine.is_ready(self._session):
            for _, output in self._engine.step([self._session]):
                if isinstance(output, TtsError):
                    raise output
                self.cpu_seconds += time.process_time() - started
                yield output
                started = time.process_time()
        self.cpu_seconds += time.process_time() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close(self._session)


def _session(
    spec: StageSpec, seed: int, policy: Policy, params: Mapping[str, float], voice: Mapping[str, Array]
) -> Session:
    """A session as the gateway would open it: each stage gets its own parameters and its part of the voice."""
    own = {param.name: param.default for param in spec.params}
    set_here = {name: value for name, value in {**policy.params, **params}.items() if name in own}
    part = {tensor.name: voice[tensor.name] for tensor in spec.conditions}
    return Session("bench", seed, replace(policy, params={}), own | set_here, {}, part)


def recordings(folder: Path) -> Sequence[Path]:
    """The voices of a folder by name.

    Raises:
        FileNotFoundError: It has none.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix in {".flac", ".wav"})
    if not found:
        raise FileNotFoundError(f"{folder} has no .flac or .wav file")
    return found
