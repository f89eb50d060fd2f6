"""Lets in only callers that know the token; health answers everyone, so that an orchestrator needs no secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

from services.common.errors import UnauthenticatedError
from services.common.guard import Context, Handler, guarded

_OPEN_METHODS = "/grpc.health.v1.Health/"
_SCHEME = "bearer"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Demands ``authorization: Bearer TOKEN`` of every call but those of grpc.health.v1.

    Stands inside `ErrorInterceptor`, which gives the refusal its status and details.

    Args:
        token: What callers must know; empty lets everyone in.
    """

    def __init__(self, token: str) -> None:
        # Digests are compared: the time tells nothing of the token, not even its length.
        self._digest = _digest(token) if token else b""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler_call_details.method.startswith(_OPEN_METHODS) or self._knows_token(handler_call_details):
            return handler
        return guarded(handler, _refuse)

    def _knows_token(self, details: grpc.HandlerCallDetails) -> bool:
        if not self._digest:
            return True
        sent = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        if len(sent) != 1:
            return False
        text = sent[0] if isinstance(sent[0], str) else sent[0].decode("utf-8", "replace")
        scheme, _, token = text.partition(" ")
        return scheme.lower() == _SCHEME and hmac.compare_digest(_digest(token.strip()), self._digest)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


@asynccontextmanager
async def _refuse(_: Context) -> AsyncIterator[None]:
    # Raised inside the handler, not above: grpc.aio ends a call whose interceptor raises with UNKNOWN.
    raise UnauthenticatedError(
        "the token is missing or wrong: send the metadata `authorization: Bearer TOKEN`", field="authorization"
    )
    yield
