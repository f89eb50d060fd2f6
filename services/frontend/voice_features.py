"""A recording's features, computed by the workers' voice steps and kept by (recording, model revision)."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc
import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Array, Tensors
from services.common.errors import StageFailedError
from services.common.grpc_errors import from_rpc_error
from services.frontend.recording import Decoder, Recording
from services.frontend.stage_run import StageVoice
from services.frontend.topology import Pipeline, Pool
from services.frontend.voice_store import StoredVoice, VoiceStore

logger = structlog.get_logger(__name__)

AUDIO = re.compile(r"audio_(\d+)")
STEP_SECONDS = 120.0


@dataclass(frozen=True)
class VoiceStep:
    """A step and the workers that compute it."""

    pool: Pool
    spec: stage_pb2.VoiceStep


def voice_steps(pipeline: Pipeline) -> list[VoiceStep]:
    return [VoiceStep(pool, step) for pool in pipeline.pools for step in pool.about.voice_steps]


def audio_rates(steps: list[VoiceStep]) -> list[int]:
    """The sample rates that the steps take."""
    names = {name for step in steps for name in step.spec.takes}
    return sorted(int(match[1]) for name in names if (match := AUDIO.fullmatch(name)))


def in_order(steps: list[VoiceStep]) -> Iterator[VoiceStep]:
    """Each step after those that give what it takes.

    Raises:
        StageFailedError: Some steps wait for what no step gives.
    """
    known = {f"audio_{rate}" for rate in audio_rates(steps)}
    left = list(steps)
    while left:
        ready = [step for step in left if known.issuperset(step.spec.takes)]
        if not ready:
            missing = sorted({name for step in left for name in step.spec.takes} - known)
            raise StageFailedError(f"no voice step gives {', '.join(missing)}", reason="VOICE_STEPS_INCOMPLETE")
        yield from ready
        known.update(name for step in ready for name in step.spec.gives)
        left = [step for step in left if step not in ready]


def for_stage(features: Mapping[str, Array], pool: Pool) -> StageVoice:
    """The part of a voice's features that one stage needs, and its hash."""
    wanted = {spec.name: features[spec.name] for spec in pool.about.conditions if spec.name in features}
    if not wanted:
        return StageVoice()
    return StageVoice(tensors.digest(wanted), tuple(tensors.to_proto(wanted)))


class VoiceFeatures:
    """Computes features at most once, keeps those used lately in memory and all of them on disk."""

    def __init__(self, store: VoiceStore, decoder: Decoder, *, capacity: int = 32) -> None:
        self._store = store
        self._decoder = decoder
        self._capacity = capacity
        self._recent: OrderedDict[tuple[str, str], Tensors] = OrderedDict()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def get(self, voice: StoredVoice, pipeline: Pipeline) -> Tensors:
        """The features of a stored voice for a model revision.

        Raises:
            TtsError: The recording cannot be used, or a worker cannot be reached or refuses.
        """
        key = (voice.id, pipeline.revision)
        async with self._locks.setdefault(key, asyncio.Lock()):
            features = self._recent.get(key)
            if features is None:
                features = await self._load(voice, pipeline)
            if features is None:
                data = await asyncio.to_thread(self._store.recording, voice)
                recording = await self._decoder.decode(data, audio_rates(voice_steps(pipeline)))
                features = await self.compute(recording, pipeline)
                await self.keep(voice.id, pipeline, features)
            else:
                self._remember(key, features)
        return features

    async def compute(self, recording: Recording, pipeline: Pipeline) -> Tensors:
        """Run all voice steps of a pipeline and keep what its stages need."""
        values: Tensors = {}
        for step in in_order(voice_steps(pipeline)):
            given = {name: _cut(step, name, recording, values) for name in step.spec.takes}
            values.update(await self._encode(step, given, pipeline))
        missing = sorted(_needed(pipeline) - set(values))
        if missing:
            raise StageFailedError(f"no voice step gave {', '.join(missing)}", reason="VOICE_STEPS_INCOMPLETE")
        return {name: value for name, value in values.items() if name in pipeline.conditions()}

    def forget(self, voice: StoredVoice) -> None:
        for key in [key for key in self._recent if key[0] == voice.id]:
            del self._recent[key]

    async def keep(self, identifier: str, pipeline: Pipeline, features: Tensors) -> None:
        """Keep features, unless the voice has been deleted meanwhile."""
        if await asyncio.to_thread(self._store.put_features, identifier, pipeline.revision, features):
            self._remember((identifier, pipeline.revision), features)

    async def _load(self, voice: StoredVoice, pipeline: Pipeline) -> Tensors | None:
        features = await asyncio.to_thread(self._store.features, voice.id, pipeline.revision)
        if features is None or not _needed(pipeline).issubset(features):
            return None
        return features

    def _remember(self, key: tuple[str, str], features: Tensors) -> None:
        self._recent[key] = features
        self._recent.move_to_end(key)
        while len(self._recent) > self._capacity:
            old, _ = self._recent.popitem(last=False)
            self._locks.pop(old, None)

    async def _encode(self, step: VoiceStep, given: Tensors, pipeline: Pipeline) -> Tensors:
        stage = step.pool.stage
        request = stage_pb2.EncodeVoiceRequest(
            model=pipeline.identity, step=step.spec.name, tensors=tensors.to_proto(given)
        )
        try:
            answer = await step.pool.least_loaded().stub.EncodeVoice(request, timeout=STEP_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, stage) from error
        logger.info("voice_step_done", stage=stage, step=step.spec.name)
        return tensors.from_proto(answer.tensors)


def _needed(pipeline: Pipeline) -> set[str]:
    return {name for name, spec in pipeline.conditions().items() if not spec.is_optional}


def _cut(step: VoiceStep, name: str, recording: Recording, values: Tensors) -> Array:
    match = AUDIO.fullmatch(name)
    if match is None:
        return values[name]
    rate = int(match[1])
    return recording.audio[rate][: int(step.spec.max_audio_seconds * rate)]
