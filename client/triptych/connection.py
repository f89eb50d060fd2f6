"""One channel to a server: its address, its certificate, its token, and how calls go over it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import grpc

from triptych.credentials import Token, TokenFile, read_ca
from triptych.errors import TtsError, translated
from triptych.retries import Attempts, RetryPolicy

DEFAULT_ADDRESS = "127.0.0.1:50051"
ADDRESS_VARIABLE = "TRIPTYCH_ADDRESS"
TOKEN_FILE_VARIABLE = "TRIPTYCH_TOKEN_FILE"  # noqa: S105 - a name
CA_VARIABLE = "TRIPTYCH_CA"

_CHANNEL_OPTIONS = (
    # A unary answer holds a whole speech; gRPC's own limit of 4 MB would be 95 seconds of it.
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # A connection that died silently is noticed, and one that is idle stays. Servers permit pings down to 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that is back is found within 2 s.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

Metadata = tuple[tuple[str, str], ...]
Response = TypeVar("Response")


class Connection:
    """What all calls of a client share; belongs to one event loop.

    Args:
        address: ``host:port``; by default `TRIPTYCH_ADDRESS`, or 127.0.0.1:50051.
        timeout_seconds: Of calls that give none.
        token: Sent with every call; by default what `TRIPTYCH_TOKEN_FILE` holds.
        token_file: A file that holds the token; it is read again when it has changed.
        ca: PEM file of the authorities that may vouch for the server, which turns TLS on; by default `TRIPTYCH_CA`.
        retry_policy: For refusals.

    Raises:
        ConfigError: if a file cannot be used; the message names it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout_seconds: float | None = None,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        ca: str | PathLike[str] | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        self.timeout_seconds = timeout_seconds
        self._retry_policy = retry_policy or RetryPolicy()
        self._token = _token(token, token_file)
        ca_file = ca or os.environ.get(CA_VARIABLE)
        if ca_file:
            credentials = grpc.ssl_channel_credentials(read_ca(Path(ca_file)))
            self.channel = grpc.aio.secure_channel(self.address, credentials, options=_CHANNEL_OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)

    async def close(self) -> None:
        await self.channel.close()

    def attempts(self, timeout_seconds: float | None) -> Attempts:
        return Attempts(self._retry_policy, self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    def metadata(self) -> Metadata:
        """Return what goes with every call.

        Raises:
            ConfigError: if the token's file cannot be used any more.
        """
        return (("authorization", f"Bearer {self._token.read()}"),) if self._token else ()

    async def call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Any,
        *,
        timeout_seconds: float | None = None,
    ) -> Response:
        """Make a call with one answer, again when it is refused for now."""

        async def once(left_seconds: float | None) -> Response:
            return await method(request, timeout=left_seconds, metadata=self.metadata())

        return await self.attempt(once, timeout_seconds)

    async def attempt(
        self,
        once: Callable[[float | None], Awaitable[Response]],
        timeout_seconds: float | None = None,
    ) -> Response:
        """Await `once`, given the seconds that are left, until it is not refused for now.

        Raises:
            TtsError: what it failed with.
        """
        attempts = self.attempts(timeout_seconds)
        while True:
            try:
                with translated(self.address):
                    return await once(attempts.seconds_left())
            except TtsError as error:
                await attempts.pause(error)


def _token(token: str | None, token_file: str | PathLike[str] | None) -> Token | TokenFile | None:
    if token:
        return Token(token)
    path = token_file or os.environ.get(TOKEN_FILE_VARIABLE)
    return TokenFile(Path(path)) if path else None
