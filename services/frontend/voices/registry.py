"""The voices that can be spoken with: names, recordings and features together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, NotFoundError, StageLostError
from services.common.reasons import Reason
from services.frontend.recordings.decoder import Decoder
from services.frontend.voices.default import DefaultVoice
from services.frontend.voices.features import (
    VoiceFeatures,
    audio_rates,
    check_transcript_given,
    voice_steps,
)
from services.frontend.voices.files import UNUSABLE, VoiceFiles
from services.frontend.voices.record import StoredVoice, check_said, voice_id
from services.frontend.voices.store import VoiceStore
from services.frontend.wakeup import Wakeup
from services.frontend.workers.topology import Pipeline, Topology

logger = structlog.get_logger(__name__)


class Voices:
    """What the servicers ask about voices.

    Args:
        store: Directory of the registered voices and of all features.
        decoder: Decodes recordings.
        topology: Knows the models, whose voice steps compute features.
        bundled: Directories with the models' own recordings, the default model's first; they need not exist.
        directory: The operator's directory of audio files, which are voices for as long as they are there.
        default: Name or id; empty for the one that was chosen lately, or else the first bundled voice.

    Raises:
        TtsError: The store cannot be written, there is no such directory or no such default voice.
    """

    def __init__(
        self,
        store: Path,
        decoder: Decoder,
        topology: Topology,
        *,
        bundled: Sequence[Path],
        directory: Path | None = None,
        default: str = "",
    ) -> None:
        self._store = VoiceStore(store)
        self._features = VoiceFeatures(self._store, decoder)
        self._decoder = decoder
        self._topology = topology
        self._files = VoiceFiles(self._store, self._features, decoder, topology, bundled=bundled, directory=directory)
        self._default = DefaultVoice(self._store, setting=default, fallbacks=self._files.bundled_names)

    @property
    def changed(self) -> Wakeup:
        """Notified when the operator's directory has been read and when a recording has been looked at."""
        return self._files.changed

    async def run(self) -> None:
        """Have the features of bundled and directory voices ready, and follow the directory; until cancelled."""
        await self._files.run()

    async def prepare(self) -> None:
        """Compute the features of bundled and directory voices once the workers are there, so that nobody waits."""
        await self._files.prepare()

    async def create(self, name: str, recording: bytes, *, transcript: str = "", description: str = "") -> StoredVoice:
        """Register a recording; its features are computed now, so that its first use is not slow.

        The default model must be able to speak in it; of other models that cannot, the log tells.

        Raises:
            TtsError: The name or the recording cannot be used, the workers cannot be reached, or the disk is full.
        """
        check_said(name, transcript, description)
        voice = StoredVoice(name, voice_id(recording), transcript=transcript, description=description)
        self._store.table.check_free(name, voice.id, field_path="config.name")
        # Decoded even while no worker is up: a bad recording is the caller's concern first.
        if self._pipeline_or_none() is None:
            await self._decoder.decode(recording)
        pipeline = self._topology.pipeline()
        check_transcript_given(pipeline, transcript, field_path="config.transcript")
        # The default model's is the first.
        pipelines = self._topology.pipelines()
        steps = [step for each in pipelines for step in voice_steps(each)]
        decoded = await self._decoder.decode(recording, audio_rates(steps))
        made = await self._features.compute_all(voice, decoded, pipelines)
        voice = await asyncio.to_thread(self._store.add, replace(voice, facts=decoded.facts), recording, made)
        for key, features in made.items():
            self._features.remember(voice.id, key, features)
        logger.info("voice_created", voice_id=voice.id, num_bytes=len(recording))
        return voice

    async def get(self, name_or_id: str) -> StoredVoice:
        """A voice with its facts.

        Raises:
            NotFoundError: There is no such voice.
        """
        _check_named(name_or_id)
        voice = self._store.table.find(name_or_id, field_path="name")
        try:
            return await self._files.with_facts(voice)
        except UNUSABLE:
            # A file that turned out to be no recording is no voice any more.
            self._store.table.find(name_or_id, field_path="name")
            raise

    async def entries(self) -> list[StoredVoice]:
        """Every voice whose recording can be used, in the order of the names."""
        voices = []
        for name in self.names():
            voice = self._store.table.named(name)
            try:
                if voice is not None:
                    voices.append(await self._files.with_facts(voice))
            except UNUSABLE:
                continue
        return voices

    def names(self) -> list[str]:
        return self._store.table.names()

    async def update(
        self,
        name: str,
        *,
        new_name: str | None = None,
        transcript: str | None = None,
        description: str | None = None,
    ) -> StoredVoice:
        """Change a registered voice; what is None stays.

        Raises:
            TtsError: There is no such voice, it is not the callers', or its new name or words are not allowed.
        """
        _check_named(name)
        check_said(new_name, transcript, description, path="")
        given: dict[str, Any] = {"name": new_name, "transcript": transcript, "description": description}
        said = {field: value for field, value in given.items() if value is not None}
        voice = await asyncio.to_thread(self._store.update, name, lambda known: replace(known, **said))
        if voice.name != name:
            self._default.follow(name, voice.name)
            await self._files.sync()
        logger.info("voice_updated", voice_id=voice.id)
        return await self._files.with_facts(voice)

    async def delete(self, name: str) -> None:
        """Forget a registered voice; when it was the default one, another one is from now on."""
        _check_named(name)
        voice = await asyncio.to_thread(self._store.remove, name)
        self._features.forget_gone([voice])
        self._default.follow(name, "")
        await self._files.sync()
        logger.info("voice_deleted", voice_id=voice.id)

    def default_name(self) -> str:
        """Name of the default voice; empty when there is none."""
        return self._default.name()

    async def default(self) -> StoredVoice:
        """The default voice with its facts.

        Raises:
            NotFoundError: There is none.
        """
        return await self._files.with_facts(self.resolve("", field_path="name"))

    async def set_default(self, name_or_id: str) -> StoredVoice:
        """Make a voice the one of requests that name none, across restarts."""
        voice = await self.get(name_or_id)
        await asyncio.to_thread(self._default.choose, voice)
        logger.info("default_voice_set", voice_id=voice.id)
        return voice

    def resolve(self, name_or_id: str, *, field_path: str) -> StoredVoice:
        """The voice that a request means; the default one when it names none."""
        name = name_or_id or self.default_name()
        if not name:
            raise NotFoundError(
                "no voice is named and there is no default voice", field=field_path, reason=Reason.VOICE_NOT_FOUND
            )
        return self._store.table.find(name, field_path=field_path)

    async def features(self, voice: StoredVoice, pipeline: Pipeline, *, field_path: str = "config.voice") -> Tensors:
        """What the stages of a model need to know of a voice; nothing for a model that takes no recordings."""
        return await self._features.get(voice, pipeline, field_path=field_path)

    async def inline(
        self, audio: bytes, transcript: str, pipeline: Pipeline, *, field_path: str
    ) -> tuple[str, Tensors]:
        """Id and features of a recording that came with a request; nothing is registered or written to disk.

        Args:
            audio: The recording as a file.
            transcript: What is said in it; empty when that is not known.
            pipeline: The model, which is known to take such recordings.
            field_path: Path of the message with the fields `audio` and `transcript`, such as ``config.recording``.

        Raises:
            TtsError: The recording cannot be used, its transcript is missing, or a worker cannot be reached.
        """
        check_transcript_given(pipeline, transcript, field_path=f"{field_path}.transcript")
        identifier = await asyncio.to_thread(voice_id, audio)
        features = await self._features.of_recording(
            identifier, audio, transcript, pipeline, field_path=f"{field_path}.audio"
        )
        return identifier, features

    def _pipeline_or_none(self) -> Pipeline | None:
        try:
            return self._topology.pipeline()
        except StageLostError:
            return None


def _check_named(name_or_id: str) -> None:
    if not name_or_id:
        raise InvalidRequestError("name is empty; give a voice's name or id", field="name")
