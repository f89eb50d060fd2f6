"""The text of one StreamingSynthesize call, read while it is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from protos.tts.v1 import synthesis_pb2
from services.common.errors import DeadlineError, InvalidRequestError
from services.frontend.gateway import Gateway
from services.frontend.pipeline import Utterance
from services.frontend.text import check_fragment
from services.frontend.text_feed import add_all, feed

Requests = AsyncIterator[synthesis_pb2.StreamingSynthesizeRequest]


class ArrivingText:
    """Feeds messages to the segmenter, and its segments to the utterance.

    Raises:
        InvalidRequestError: When made: the policy needs the whole text at once.
    """

    def __init__(self, utterance: Utterance, gateway: Gateway) -> None:
        request = utterance.request
        if request.policy.name == "compat":
            raise InvalidRequestError(
                "policy compat needs the whole text at once; streaming and whole are allowed here",
                field="config.render.policy",
                reason="NOT_SUPPORTED",
            )
        self._utterance = utterance
        self._limits = gateway.text_limits
        self._segmenter = gateway.text.stream(max_tokens=gateway.segment_tokens(request))

    async def read(self, requests: Requests) -> None:
        """Read until the caller half-closes.

        Raises:
            InvalidRequestError: A message is not allowed, or nothing in the text can be spoken.
            DeadlineError: No message came for too long.
        """
        while (request := await self._next(requests)) is not None:
            await self._take(request)
        await add_all(self._utterance, await asyncio.to_thread(self._segmenter.end))
        if not self._segmenter.num_segments:
            raise InvalidRequestError(
                "the text has nothing to speak; at least one letter or digit is needed",
                field="text",
                reason="TEXT_NOT_SPEAKABLE",
            )
        self._utterance.end_text()

    async def _next(self, requests: Requests) -> synthesis_pb2.StreamingSynthesizeRequest | None:
        """The next message; the clock of an idle stream stands still while there is something to speak."""
        idle_seconds = self._limits.stream_idle_seconds
        message = asyncio.ensure_future(anext(requests, None))
        try:
            while not (await asyncio.wait([message], timeout=idle_seconds))[0]:
                if self._utterance.output.is_idle:
                    raise DeadlineError(f"no message came for {idle_seconds:g} s", reason="STREAM_IDLE")
            return await message
        finally:
            message.cancel()

    async def _take(self, request: synthesis_pb2.StreamingSynthesizeRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "text":
            check_fragment(request.text, max_chars=self._limits.max_stream_characters)
            await feed(self._utterance, self._segmenter, request.text)
        elif kind == "flush":
            await add_all(self._utterance, await asyncio.to_thread(self._segmenter.flush))
        elif kind == "cancel_segment":
            self._utterance.cancel_segment(request.cancel_segment.segment)
        elif kind == "config":
            raise InvalidRequestError(
                "config may come only once, as the first message", field="config", reason="CONFIG_REPEATED"
            )
        else:
            raise InvalidRequestError(
                "a message holds text, flush or cancel_segment", field="message", reason="MESSAGE_EMPTY"
            )
