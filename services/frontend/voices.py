"""The voices that can be spoken with: names, recordings and features together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, NotFoundError, StageLostError, TtsError
from services.frontend.recording import Decoder
from services.frontend.topology import Pipeline, Topology
from services.frontend.voice_features import VoiceFeatures, audio_rates, voice_steps
from services.frontend.voice_store import StoredVoice, VoiceStore, check_name, voice_id

logger = structlog.get_logger(__name__)


class Voices:
    """What the servicers ask about voices.

    Args:
        directory: The store.
        bundled: Directory with the model's own recordings; it need not exist.
        default: Name or id; empty for the first bundled voice.
    """

    def __init__(
        self, directory: Path, decoder: Decoder, topology: Topology, *, bundled: Path, default: str = ""
    ) -> None:
        self._store = VoiceStore(directory)
        self._features = VoiceFeatures(self._store, decoder)
        self._decoder = decoder
        self._topology = topology
        self._bundled = self._store.add_bundled(bundled)
        self._default = default or next(iter(self._bundled), "")
        if default:
            self._store.find(default, field_path="default_voice")

    async def create(self, name: str, recording: bytes) -> StoredVoice:
        """Register a recording; its features are computed now, so that its first use is not slow.

        Raises:
            TtsError: The name or the recording cannot be used, or the workers cannot be reached.
        """
        check_name(name, field_path="config.name")
        identifier = voice_id(recording)
        self._store.check_free(name, identifier)
        # Decoded even while no worker is up: a bad recording is the caller's concern first.
        pipeline = self._pipeline_or_none()
        decoded = await self._decoder.decode(recording, audio_rates(voice_steps(pipeline)) if pipeline else ())
        if pipeline is None:
            pipeline = self._topology.pipeline()
            decoded = await self._decoder.decode(recording, audio_rates(voice_steps(pipeline)))
        features = await self._features.compute(decoded, pipeline)
        voice = await asyncio.to_thread(self._store.add, name, recording, decoded.facts)
        await self._features.keep(voice.id, pipeline, features)
        logger.info("voice_created", voice_id=voice.id, num_bytes=len(recording))
        return voice

    async def get(self, name_or_id: str) -> StoredVoice:
        if not name_or_id:
            raise InvalidRequestError("name is empty; give a voice's name or id", field="name")
        return await self._with_facts(self._store.find(name_or_id, field_path="name"))

    async def entries(self) -> list[tuple[str, StoredVoice]]:
        """Every name with its voice, in the order of the names."""
        return [(name, await self.get(name)) for name in self.names()]

    def names(self) -> list[str]:
        return self._store.names()

    async def delete(self, name: str) -> None:
        voice = self._store.find(name, field_path="name")
        await asyncio.to_thread(self._store.remove, name)
        self._features.forget(voice)
        logger.info("voice_deleted", voice_id=voice.id)

    def resolve(self, name_or_id: str, *, field_path: str) -> StoredVoice:
        """The voice that a request means; the default one when it names none."""
        if name_or_id:
            return self._store.find(name_or_id, field_path=field_path)
        if not self._default:
            raise NotFoundError("no voice is named and there is no default voice", field=field_path)
        return self._store.find(self._default, field_path=field_path)

    async def features(self, voice: StoredVoice, pipeline: Pipeline) -> Tensors:
        return await self._features.get(voice, pipeline)

    async def prepare_bundled(self) -> None:
        """Compute the bundled voices' features once the workers are there, so that nobody waits for them."""
        await self._topology.changed.until(self._topology.is_serving)
        for name in self._bundled:
            try:
                voice = await self.get(name)
                await self._features.get(voice, self._topology.pipeline())
            except TtsError as error:
                logger.warning("bundled_voice_not_ready", voice=name, reason=error.reason, error=error.message)

    async def _with_facts(self, voice: StoredVoice) -> StoredVoice:
        if voice.facts is not None:
            return voice
        decoded = await self._decoder.decode(self._store.recording(voice))
        return await asyncio.to_thread(self._store.set_facts, voice.id, decoded.facts)

    def _pipeline_or_none(self) -> Pipeline | None:
        try:
            return self._topology.pipeline()
        except StageLostError:
            return None
