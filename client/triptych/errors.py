"""What can go wrong on the way to speech, and how a gRPC status becomes one of these.

The message is the server's own. No transport frames are kept: they say nothing to a caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

_DETAILS_KEY = "grpc-status-details-bin"


@dataclasses.dataclass
class ErrorDetails:
    """What a server says about a failure beside its message."""

    status: str = ""
    """Name of the gRPC status; empty when the failure never left this process."""
    field: str = ""
    """Path of the request field at fault, such as ``config.sampling.top_p``."""
    reason: str = ""
    """UPPER_SNAKE_CASE name that programs can test for."""
    stage: str = ""
    """The model stage at fault, such as ``gpt``."""
    retry_after_seconds: float | None = None
    """When to try again; None when the server does not say."""
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further named values, such as ``utterance_id``."""


class TtsError(Exception):
    """Base of every failure of this package."""

    def __init__(self, message: str, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or ErrorDetails()

    @property
    def status(self) -> str:
        return self.details.status

    @property
    def field(self) -> str:
        return self.details.field

    @property
    def reason(self) -> str:
        return self.details.reason

    @property
    def stage(self) -> str:
        return self.details.stage

    @property
    def retry_after_seconds(self) -> float | None:
        return self.details.retry_after_seconds

    @property
    def utterance_id(self) -> str:
        return self.details.metadata.get("utterance_id", "")


class InvalidRequestError(TtsError):
    """The request can never work; `field` says what is wrong with it."""


class TooLargeError(InvalidRequestError):
    """A text or a recording is over its limit."""


class NotFoundError(TtsError):
    """The voice or the model does not exist."""


class AlreadyExistsError(TtsError):
    """The name is taken by another recording."""


class PreconditionError(TtsError):
    """The server is not in the state that the request presumes."""


class UnsupportedError(TtsError):
    """The server does not know this call."""


class NotAllowedError(TtsError):
    """The server wants other credentials."""


class OverloadedError(TtsError):
    """Everything is taken; try again after `retry_after_seconds`."""


class UnavailableError(TtsError):
    """No server answers, or a stage of it is gone; try again."""


class DeadlineError(TtsError):
    """The time for this call is over."""


class StreamCancelledError(TtsError):
    """The server ended the call before it was done."""


class InternalError(TtsError):
    """The server failed at a request that it should be able to serve."""


_BY_REASON: dict[str, type[TtsError]] = {
    "TOO_LARGE": TooLargeError,
    "OVERLOADED": OverloadedError,
}

_BY_STATUS: dict[grpc.StatusCode, type[TtsError]] = {
    grpc.StatusCode.CANCELLED: StreamCancelledError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.ABORTED: UnavailableError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowedError,
}


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn the failure of a call to `address` into a `TtsError`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error, address) from None


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> TtsError:
    """Return the exception that stands for `error`."""
    code = error.code()
    details = ErrorDetails(status=code.name)
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            _read_details(value, details)
    kind = _BY_REASON.get(details.reason) or _BY_STATUS.get(code, InternalError)
    return kind(_message(error, details, address), details)


def _message(error: grpc.aio.AioRpcError, details: ErrorDetails, address: str) -> str:
    text = " ".join((error.details() or "").split())
    if not details.reason:
        if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in text.lower():
            return f"no server answers at {address}"
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return f"lost the connection to {address}: {text}"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return "the time given for this call is over"
    return text or f"the server at {address} says {error.code().name} without a reason"


def _read_details(value: bytes, details: ErrorDetails) -> None:
    try:
        status = status_pb2.Status.FromString(value)
    except DecodeError:
        return
    info = error_details_pb2.ErrorInfo()
    violations = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            details.reason = info.reason
            details.metadata = dict(info.metadata)
            details.stage = info.metadata.get("stage", "")
            details.field = details.field or info.metadata.get("field", "")
        elif detail.Unpack(violations) and violations.field_violations:
            details.field = violations.field_violations[0].field
        elif detail.Unpack(retry):
            details.retry_after_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
