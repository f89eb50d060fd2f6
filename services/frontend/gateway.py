"""Everything that the public servicers share, wired once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from protos.tts.v1 import synthesis_pb2
from services.frontend.request import validation
from services.frontend.request.resolver import CheckedConfig, RequestResolver, RequestRules
from services.frontend.request.speech_request import SpeechRequest
from services.frontend.servicers.calls import SpeechCall
from services.frontend.speaking.first_audio import FirstAudioLimit
from services.frontend.speaking.text_feed import add_all, feed, finish
from services.frontend.speaking.utterance import PipelineLimits, Utterance
from services.frontend.text import TextFrontend, check_text
from services.frontend.voices.registry import Voices
from services.frontend.workers.admission import Admission
from services.frontend.workers.topology import Topology


@dataclass(frozen=True)
class TextLimits:
    """What a caller may send."""

    max_unary_characters: int = 5_000
    max_stream_characters: int = 20_000
    stream_idle_seconds: float = 300.0
    max_streams: int = 256


@dataclass(frozen=True)
class Gateway:
    """The parts of a running gateway."""

    topology: Topology
    admission: Admission
    voices: Voices
    models: Mapping[str, TextFrontend]
    """Text front end of every model of the topology, by the model's name."""
    limits: PipelineLimits
    text_limits: TextLimits
    rules: RequestRules = field(default_factory=RequestRules)
    started: float = field(default_factory=time.monotonic)

    async def begin_arriving(self, config: synthesis_pb2.SynthesisConfig, call: SpeechCall) -> Utterance:
        """Make the utterance of a text that is still being written."""
        checked = self.check(config, call)
        validation.check_arriving(checked.policy)
        utterance = await self._begin(checked, call)
        # Until its first segment is known, the text is what is waited for.
        utterance.first_audio.pause()
        return utterance

    async def begin_whole(
        self, request: synthesis_pb2.SynthesizeRequest, call: SpeechCall, *, max_characters: int
    ) -> tuple[Utterance, Callable[[], Awaitable[None]]]:
        """Make the utterance of a whole text, and the work that hands its segments in."""
        checked, text = self.check(request.config, call), request.text
        check_text(text, max_chars=max_characters)
        frontend, options = self.frontend(checked), checked.text
        # A long text with a long glossary takes a while.
        await asyncio.to_thread(frontend.check_text, text, options)
        utterance = await self._begin(checked, call)
        if utterance.request.policy.name == "compat":
            return utterance, await self._published(utterance, text)
        segmenter = frontend.stream(options)

        # Keeps the text alone: the request may hold a recording.
        async def add_text() -> None:
            await feed(utterance, segmenter, text)
            await finish(utterance, segmenter)

        return utterance, add_text

    def check(self, config: synthesis_pb2.SynthesisConfig, call: SpeechCall) -> CheckedConfig:
        """Check every field of a config without asking a worker.

        Raises:
            TtsError: A field is not allowed, the model cannot honour it, or there is no such model or voice.
        """
        # First of all: whatever else is wrong is then logged with the session's id.
        call.name_session(validation.session_id(config.session_id))
        return self._resolver.check(config)

    async def resolve(self, checked: CheckedConfig, call: SpeechCall) -> SpeechRequest:
        """Fetch what a checked config needs from the workers."""
        return await self._resolver.resolve(checked, utterance_id=call.utterance_id, deadline=call.deadline)

    def frontend(self, request: SpeechRequest | CheckedConfig) -> TextFrontend:
        return self.models[request.pipeline.model]

    async def _begin(self, checked: CheckedConfig, call: SpeechCall) -> Utterance:
        async with FirstAudioLimit(call.timings, checked.max_first_audio_ms).watching():
            request = await self.resolve(checked, call)
        return Utterance(
            request,
            topology=self.topology,
            admission=self.admission,
            limits=self.limits,
            timings=call.timings,
        )

    @property
    def _resolver(self) -> RequestResolver:
        return RequestResolver(self.topology, self.voices, self.models, self.rules)

    async def _published(self, utterance: Utterance, text: str) -> Callable[[], Awaitable[None]]:
        """The work for policy compat, which cuts the whole text at once."""
        frontend, options = self.frontend(utterance.request), utterance.request.text
        utterance.num_characters = len(text)
        segments = await asyncio.to_thread(frontend.whole_text_segments, text, options, max_chars=len(text))

        async def add_text() -> None:
            await add_all(utterance, segments)
            utterance.end_text()

        return add_text
