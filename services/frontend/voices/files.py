"""Voices that are files: looks at them, has their features ready, and follows the operator's directory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from services.common.errors import InvalidRequestError, NotFoundError, TooLargeError, TtsError
from services.frontend.recordings.decoder import Decoder
from services.frontend.voices.directory import VoiceDirectory
from services.frontend.voices.features import VoiceFeatures
from services.frontend.voices.record import StoredVoice, VoiceSource
from services.frontend.voices.store import VoiceStore
from services.frontend.wakeup import Wakeup
from services.frontend.workers.topology import Pipeline, Topology

logger = structlog.get_logger(__name__)

UNUSABLE = (InvalidRequestError, TooLargeError, NotFoundError)
"""What is raised for a recording that cannot be used or is not there."""


class VoiceFiles:
    """Puts files into the store's table at once and looks into them later, in the background or when asked.

    Args:
        store: Holds the table of voices.
        features: Computes and keeps their features.
        decoder: Looks into recordings.
        topology: Knows which models are there.
        bundled: Directories with the models' own recordings, the default model's first; they need not exist.
        directory: The operator's directory of audio files.

    Raises:
        InvalidRequestError: There is no such directory.
    """

    def __init__(
        self,
        store: VoiceStore,
        features: VoiceFeatures,
        decoder: Decoder,
        topology: Topology,
        *,
        bundled: Sequence[Path],
        directory: Path | None,
    ) -> None:
        self.changed = Wakeup()
        self._store = store
        self._features = features
        self._decoder = decoder
        self._topology = topology
        # Files are told of quicker than features are made.
        self._unprepared: asyncio.Queue[StoredVoice] = asyncio.Queue()
        self._directories = [self._opened(path, VoiceSource.BUNDLED) for path in bundled if path.is_dir()]
        self.bundled_names = [voice.name for each in self._directories for voice in each.sync().new]
        self._followed: VoiceDirectory | None = None
        if directory is not None:
            self._followed = self._opened(directory, VoiceSource.DIRECTORY)
            self._followed.check(field_path="voices_dir")
            self._followed.sync()
            self._directories.append(self._followed)

    async def run(self) -> None:
        """Follow the operator's directory and have features ready, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prepare_models())
            if self._followed is not None:
                tasks.create_task(self._follow(self._followed))
                tasks.create_task(self._prepare_new())

    async def prepare(self) -> None:
        """Have the features of all files ready once the default model's workers are there."""
        await self._topology.changed.until(self._topology.is_serving)
        for source in (VoiceSource.BUNDLED, VoiceSource.DIRECTORY):
            for voice in self._store.table.all(source):
                await self._prepare(voice)

    async def sync(self) -> None:
        """Read the operator's directory."""
        if self._followed is None:
            return
        changes = await asyncio.to_thread(self._followed.sync)
        self._features.forget_gone(changes.gone)
        for voice in changes.new:
            self._unprepared.put_nowait(voice)
        self.changed.notify()

    async def with_facts(self, voice: StoredVoice) -> StoredVoice:
        """Decode a recording that nobody has looked at; a file that is none is taken out of the table.

        Raises:
            TtsError: One of UNUSABLE, or the decoder is busy.
        """
        if voice.facts is not None:
            return voice
        try:
            recording = await asyncio.to_thread(self._store.recording, voice, field_path="name")
            decoded = await self._decoder.decode(recording, field_path="name")
        except NotFoundError:
            # It has gone or is another one now: what there is instead is found by looking again.
            await self.sync()
            raise
        except UNUSABLE as error:
            self._refuse(voice, error)
            raise
        await asyncio.to_thread(self._store.set_facts, voice.id, decoded.facts)
        self.changed.notify()
        return replace(voice, facts=decoded.facts)

    def _opened(self, path: Path, source: VoiceSource) -> VoiceDirectory:
        return VoiceDirectory(path, self._store, source=source, max_bytes=self._decoder.limits.max_bytes)

    async def _follow(self, directory: VoiceDirectory) -> None:
        for voice in self._store.table.all(VoiceSource.DIRECTORY):
            self._unprepared.put_nowait(voice)
        async for _ in directory.changed():
            await self.sync()

    async def _prepare_models(self) -> None:
        """Prepare all files again whenever a model, or another revision of it, has come; what there is costs little."""
        prepared: set[tuple[str, str]] = set()

        def is_other() -> bool:
            return not self._serving() <= prepared

        while True:
            await self._topology.changed.until(is_other)
            prepared.update(self._serving())
            await self.prepare()

    def _serving(self) -> set[tuple[str, str]]:
        return {(each.model, each.revision) for each in self._topology.pipelines() if not each.missing}

    async def _prepare_new(self) -> None:
        while True:
            await self._prepare(await self._unprepared.get())

    async def _prepare(self, voice: StoredVoice) -> None:
        """Look at a recording and have its features ready for the models that are there, the default one first."""
        try:
            checked = await self.with_facts(voice)
        except TtsError as error:
            known = self._store.table.named(voice.name)
            if known is not None and known.id == voice.id:  # else it was taken out of the table, and the log said why
                logger.warning("voice_not_ready", voice_id=voice.id, reason=error.reason)
            return
        for pipeline in self._topology.pipelines():
            if not pipeline.missing:
                await self._prepare_for(checked, pipeline)

    async def _prepare_for(self, voice: StoredVoice, pipeline: Pipeline) -> None:
        try:
            await self._features.get(voice, pipeline, field_path="config.voice")
        except TtsError as error:
            logger.warning("voice_not_ready", voice_id=voice.id, model=pipeline.model, reason=error.reason)

    def _refuse(self, voice: StoredVoice, error: TtsError) -> None:
        for directory in self._directories:
            if voice.path is not None and voice.path.parent == directory.path:
                directory.refuse(voice, error.message)
        if voice.path is None:
            logger.warning("voice_not_usable", voice_id=voice.id, reason=error.reason)
        self.changed.notify()
