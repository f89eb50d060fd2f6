"""A recording's features, computed by the workers' voice steps and kept by recording, model revision and transcript."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import numpy as np
import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError, StageFailedError, TtsError
from services.common.reasons import Reason
from services.frontend.recordings.decoder import Decoder, Recording
from services.frontend.voices.feature_files import feature_key
from services.frontend.voices.record import StoredVoice
from services.frontend.voices.store import VoiceStore
from services.frontend.workers.stage_run import StageVoice
from services.frontend.workers.step import Step
from services.frontend.workers.topology import Pipeline, Pool

logger = structlog.get_logger(__name__)

AUDIO = re.compile(r"audio_(\d+)")
TRANSCRIPT = "transcript"

Key = tuple[str, str]


def voice_steps(pipeline: Pipeline) -> list[Step]:
    return [Step(pool, step) for pool in pipeline.pools for step in pool.about.voice_steps]


def audio_rates(steps: Sequence[Step]) -> list[int]:
    """The sample rates that the steps take."""
    names = {name for step in steps for name in step.spec.takes}
    return sorted(int(match[1]) for name in names if (match := AUDIO.fullmatch(name)))


def takes_transcript(pipeline: Pipeline) -> bool:
    """Whether the features depend on what is said in the recording."""
    return any(TRANSCRIPT in step.spec.takes for step in voice_steps(pipeline))


def check_transcript_given(pipeline: Pipeline, transcript: str, *, field_path: str) -> None:
    """Raise InvalidRequestError when a model cannot do without what is said in the recording, and that is not said."""
    modes = {mode for pool in pipeline.pools for mode in pool.about.voice_modes}
    if takes_transcript(pipeline) and not transcript and stage_pb2.VOICE_MODE_REFERENCE not in modes:
        raise InvalidRequestError(
            "this model needs what is said in the recording as the voice's transcript",
            field=field_path,
            reason=Reason.FIELD_CONFLICT,
        )


def in_order(steps: list[Step]) -> Iterator[Step]:
    """Each step after those that give what it takes.

    Raises:
        StageFailedError: Some steps wait for what no step gives.
    """
    known = {TRANSCRIPT, *(f"audio_{rate}" for rate in audio_rates(steps))}
    left = list(steps)
    while left:
        ready = [step for step in left if known.issuperset(step.spec.takes)]
        if not ready:
            missing = sorted({name for step in left for name in step.spec.takes} - known)
            raise StageFailedError(f"no voice step gives {', '.join(missing)}", reason=Reason.VOICE_STEPS_INCOMPLETE)
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
    """Computes features at most once, keeps those used lately in memory and those of stored voices on disk."""

    def __init__(self, store: VoiceStore, decoder: Decoder, *, capacity: int = 32) -> None:
        self._store = store
        self._decoder = decoder
        self._capacity = capacity
        self._recent: OrderedDict[Key, Tensors] = OrderedDict()
        # A lock lives for as long as somebody holds or awaits it.
        self._locks: weakref.WeakValueDictionary[Key, asyncio.Lock] = weakref.WeakValueDictionary()

    async def get(self, voice: StoredVoice, pipeline: Pipeline, *, field_path: str) -> Tensors:
        """The features of a stored voice for a model revision.

        Raises:
            TtsError: The recording cannot be used, or a worker cannot be reached or refuses.
        """
        check_transcript_given(pipeline, voice.transcript, field_path=field_path)

        key = (voice.id, key_of(pipeline, voice.transcript))

        async def make() -> Tensors:
            data = await asyncio.to_thread(self._store.recording, voice, field_path=field_path)
            features = await self._of_bytes(data, voice.transcript, pipeline, field_path)
            await self._keep(key, features)
            return features

        return await self._once(key, pipeline, make)

    async def of_recording(
        self, identifier: str, data: bytes, transcript: str, pipeline: Pipeline, *, field_path: str
    ) -> Tensors:
        """The features of a recording that is not stored, or of the stored one that is the same.

        Args:
            identifier: Hash of the recording.
            data: The recording as a file.
            transcript: What is said in it; empty when that is not known.
            pipeline: The model.
            field_path: Field of the recording, for errors.

        Raises:
            TtsError: The recording cannot be used, or a worker cannot be reached or refuses.
        """

        async def make() -> Tensors:
            return await self._of_bytes(data, transcript, pipeline, field_path)

        return await self._once((identifier, key_of(pipeline, transcript)), pipeline, make)

    async def compute(self, recording: Recording, transcript: str, pipeline: Pipeline) -> Tensors:
        """Run all voice steps of a pipeline and keep what its stages need."""
        values: Tensors = {TRANSCRIPT: np.frombuffer(transcript.encode(), np.uint8)}
        for step in in_order(voice_steps(pipeline)):
            given = {name: _cut(step, name, recording, values) for name in step.spec.takes}
            values.update(await step.run(given, pipeline))
        missing = sorted(_needed(pipeline) - set(values))
        if missing:
            raise StageFailedError(f"no voice step gave {', '.join(missing)}", reason=Reason.VOICE_STEPS_INCOMPLETE)
        return {name: value for name, value in values.items() if name in pipeline.conditions()}

    async def compute_all(
        self, voice: StoredVoice, recording: Recording, pipelines: Sequence[Pipeline]
    ) -> dict[str, Tensors]:
        """Features by their keys, of every model that takes recordings and can be asked.

        Raises:
            TtsError: The first model has no features of it.
        """
        made = {}
        for pipeline in pipelines:
            try:
                check_transcript_given(pipeline, voice.transcript, field_path="config.transcript")
                features = await self.compute(recording, voice.transcript, pipeline)
            except TtsError as error:
                if pipeline is pipelines[0]:
                    raise
                logger.warning("voice_not_ready", voice_id=voice.id, model=pipeline.model, reason=error.reason)
                continue
            if features:
                made[key_of(pipeline, voice.transcript)] = features
        return made

    def remember(self, identifier: str, key: str, features: Tensors) -> None:
        self._remember((identifier, key), features)

    def forget_gone(self, voices: Sequence[StoredVoice]) -> None:
        """Forget the features of recordings that have no name any more."""
        gone = {voice.id for voice in voices if not self._store.table.with_id(voice.id)}
        for key in [key for key in self._recent if key[0] in gone]:
            del self._recent[key]

    async def _once(self, key: Key, pipeline: Pipeline, make: Callable[[], Awaitable[Tensors]]) -> Tensors:
        """Features from memory, from disk or newly made; who asks for the same ones meanwhile waits for them."""
        if not voice_steps(pipeline):
            return {}
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            features = self._recent.get(key)
            if features is None:
                features = await self._load(key, pipeline)
            if features is None:
                features = await make()
            self._remember(key, features)
            return features

    async def _of_bytes(self, data: bytes, transcript: str, pipeline: Pipeline, field_path: str) -> Tensors:
        recording = await self._decoder.decode(data, audio_rates(voice_steps(pipeline)), field_path=field_path)
        return await self.compute(recording, transcript, pipeline)

    async def _keep(self, key: Key, features: Tensors) -> None:
        try:
            await asyncio.to_thread(self._store.put_features, *key, features)
        except TtsError as error:
            # Speech does not need the file: it saves the next process the work.
            logger.warning("features_not_kept", voice_id=key[0], error=error.message)

    async def _load(self, key: Key, pipeline: Pipeline) -> Tensors | None:
        features = await asyncio.to_thread(self._store.features, *key)
        if features is None or not _needed(pipeline).issubset(features):
            return None
        return features

    def _remember(self, key: Key, features: Tensors) -> None:
        self._recent[key] = features
        self._recent.move_to_end(key)
        while len(self._recent) > self._capacity:
            self._recent.popitem(last=False)


def key_of(pipeline: Pipeline, transcript: str) -> str:
    return feature_key(pipeline.revision, transcript if takes_transcript(pipeline) else "")


def _needed(pipeline: Pipeline) -> set[str]:
    return {name for name, spec in pipeline.conditions().items() if not spec.is_optional}


def _cut(step: Step, name: str, recording: Recording, values: Tensors) -> Array:
    match = AUDIO.fullmatch(name)
    if match is None:
        return values[name]
    rate = int(match[1])
    return recording.audio[rate][: int(step.spec.max_audio_seconds * rate)]
