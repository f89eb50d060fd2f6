"""Everything that the public servicers share, wired once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.frontend.admission import Admission
from services.frontend.calls import SpeechCall
from services.frontend.pipeline import PipelineLimits, Utterance
from services.frontend.request_resolver import RequestResolver
from services.frontend.speech import SpeechRequest
from services.frontend.text import TextFrontend, check_text
from services.frontend.text_feed import add_all, feed
from services.frontend.topology import Topology
from services.frontend.voices import Voices


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
    text: TextFrontend
    limits: PipelineLimits
    text_limits: TextLimits

    async def begin(self, config: synthesis_pb2.SynthesisConfig, call: SpeechCall) -> Utterance:
        """Check a config and make the utterance that it asks for."""
        request = await RequestResolver(self.topology, self.voices).resolve(
            config, utterance_id=call.utterance_id, deadline=call.deadline
        )
        call.name_session(request.session_id)
        return Utterance(
            request,
            topology=self.topology,
            admission=self.admission,
            limits=self.limits,
            timings=call.timings,
        )

    async def begin_whole(
        self, request: synthesis_pb2.SynthesizeRequest, call: SpeechCall, *, max_characters: int
    ) -> tuple[Utterance, Callable[[], Awaitable[None]]]:
        """Make the utterance of a whole text, and the work that hands its segments in."""
        check_text(request.text, max_chars=max_characters)
        utterance = await self.begin(request.config, call)
        max_tokens = self.segment_tokens(utterance.request)
        if utterance.request.policy.name == "compat":
            return utterance, await self._published(utterance, request.text, max_tokens)
        segmenter = self.text.stream(max_tokens=max_tokens)

        async def add_text() -> None:
            await feed(utterance, segmenter, request.text)
            await add_all(utterance, await asyncio.to_thread(segmenter.end))
            if not segmenter.num_segments:
                raise InvalidRequestError(
                    "text has nothing that this model can speak", field="text", reason="TEXT_NOT_SPEAKABLE"
                )
            utterance.end_text()

        return utterance, add_text

    def segment_tokens(self, request: SpeechRequest) -> int:
        """The limit of tokens in a segment of this request."""
        if request.max_segment_tokens:
            return request.max_segment_tokens
        own, model = self.text.default_policy.max_tokens, request.pipeline.max_segment_tokens
        return min(own, model) if model else own

    async def _published(self, utterance: Utterance, text: str, max_tokens: int) -> Callable[[], Awaitable[None]]:
        """The work for policy compat, which cuts the whole text at once."""
        segments = await asyncio.to_thread(
            self.text.whole_text_segments, text, max_tokens=max_tokens, max_chars=len(text)
        )

        async def add_text() -> None:
            await add_all(utterance, segments)
            utterance.end_text()

        return add_text
