"""The text of one StreamingSynthesize call, read while it is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from protos.tts.v1 import synthesis_pb2
from services.common.errors import DeadlineError, InvalidRequestError
from services.common.reasons import Reason
from services.frontend.gateway import Gateway
from services.frontend.speaking.text_feed import add_all, feed, finish
from services.frontend.speaking.utterance import Utterance
from services.frontend.text import check_fragment

Requests = AsyncIterator[synthesis_pb2.StreamingSynthesizeRequest]


class ArrivingText:
    """Feeds messages to the segmenter, and its segments to the utterance."""

    def __init__(self, utterance: Utterance, gateway: Gateway) -> None:
        request = utterance.request
        self._utterance = utterance
        self._is_blank = True
        self._limits = gateway.text_limits
        self._segmenter = gateway.frontend(request).stream(request.text)

    async def read(self, requests: Requests) -> None:
        """Read until the caller half-closes.

        Raises:
            InvalidRequestError: A message is not allowed, or nothing in the text can be spoken.
            DeadlineError: No message came for too long.
        """
        while (request := await self._next(requests)) is not None:
            await self._take(request)
        if self._is_blank:
            raise InvalidRequestError("no text came, or only white space", field="text", reason=Reason.TEXT_EMPTY)
        await finish(self._utterance, self._segmenter)

    async def _next(self, requests: Requests) -> synthesis_pb2.StreamingSynthesizeRequest | None:
        """The next message; the clock of an idle stream stands still while there is something to speak."""
        idle_seconds = self._limits.stream_idle_seconds
        message = asyncio.ensure_future(anext(requests, None))
        try:
            while not (await asyncio.wait([message], timeout=idle_seconds))[0]:
                if self._utterance.output.is_idle:
                    raise DeadlineError(f"no message came for {idle_seconds:g} s", reason=Reason.STREAM_IDLE)
            return await message
        finally:
            message.cancel()

    async def _take(self, request: synthesis_pb2.StreamingSynthesizeRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "text":
            check_fragment(request.text, max_chars=self._limits.max_stream_characters)
            self._is_blank = self._is_blank and not request.text.strip()
            await feed(self._utterance, self._segmenter, request.text)
        elif kind == "flush":
            await add_all(self._utterance, await asyncio.to_thread(self._segmenter.flush))
        elif kind == "cancel_segment":
            self._utterance.cancel_segment(request.cancel_segment.segment)
        elif kind == "config":
            raise InvalidRequestError(
                "config may come only once, as the first message", field="config", reason=Reason.CONFIG_REPEATED
            )
        else:
            raise InvalidRequestError(
                "a message holds text, flush or cancel_segment", field="message", reason=Reason.MESSAGE_EMPTY
            )
