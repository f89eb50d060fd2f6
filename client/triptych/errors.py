"""What can go wrong on the way to speech, and how a gRPC status becomes one of these.

There is one class for each category of `tts.v1.ErrorCategory`; `reason` is the finer name. The message is the
server's own. No transport frames are kept: they say nothing to a caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "triptych"


@dataclasses.dataclass
class ErrorDetails:
    """What is known about a failure beside its message."""

    status: str = ""
    """Name of the gRPC status; empty when the failure never left this process."""
    reason: str = ""
    """Name of `tts.v1.ErrorReason` that programs can test for, such as ``VOICE_NOT_FOUND``."""
    category: str = ""
    """Name of `tts.v1.ErrorCategory`, such as ``CONFIG``."""
    field: str = ""
    """Path of the request field at fault, such as ``config.sampling.top_p``."""
    stage: str = ""
    """The model stage at fault, such as ``gpt``."""
    is_retryable: bool = False
    """Whether the same request may succeed later."""
    retry_after_seconds: float | None = None
    """When to try again; None when the server does not say."""
    utterance_id: str = ""
    """Under which the server's log tells more."""
    capability: str = ""
    """What the model lacks, such as ``instruction``."""


class TtsError(Exception):
    """Base of every failure of this package, and the class of those without a category of their own."""

    category = ""

    def __init__(self, message: str, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or ErrorDetails()
        self.category = self.details.category or type(self).category

    @property
    def status(self) -> str:
        return self.details.status

    @property
    def reason(self) -> str:
        return self.details.reason

    @property
    def field(self) -> str:
        return self.details.field

    @property
    def stage(self) -> str:
        return self.details.stage

    @property
    def is_retryable(self) -> bool:
        return self.details.is_retryable

    @property
    def retry_after_seconds(self) -> float | None:
        return self.details.retry_after_seconds

    @property
    def utterance_id(self) -> str:
        return self.details.utterance_id

    @property
    def capability(self) -> str:
        return self.details.capability


class ConfigError(TtsError):
    """A field, a name, a setting or an order of calls that is not allowed; change the request."""

    category = "CONFIG"


class ModelError(TtsError):
    """The model cannot do what was asked, or broke while it did it."""

    category = "MODEL"


class AudioError(TtsError):
    """A recording cannot serve as a voice."""

    category = "AUDIO"


class TokenizerError(TtsError):
    """The text cannot be spoken."""

    category = "TOKENIZER"


class IoError(TtsError):
    """A server, a stage of it, a connection or a file cannot be reached."""

    category = "IO"


class DecodeError(TtsError):
    """Bytes that are not what they should be."""

    category = "DECODE"


class DeadlineError(TtsError):
    """Time ran out."""

    category = "TIMEOUT"


class QosError(TtsError):
    """The server has no room; try again after `retry_after_seconds`."""

    category = "QOS"


BY_CATEGORY: dict[str, type[TtsError]] = {
    kind.category: kind
    for kind in (
        ConfigError,
        ModelError,
        AudioError,
        TokenizerError,
        IoError,
        DecodeError,
        DeadlineError,
        QosError,
    )
}

# What a status stands for that gRPC itself or a proxy made.
_BY_STATUS: dict[grpc.StatusCode, type[TtsError]] = {
    grpc.StatusCode.CANCELLED: IoError,
    grpc.StatusCode.UNAVAILABLE: IoError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QosError,
    grpc.StatusCode.UNAUTHENTICATED: ConfigError,
    grpc.StatusCode.PERMISSION_DENIED: ConfigError,
}

_SIGNS_OF_BAD_CERTIFICATE = ("certificate", "handshake", "tsi_code")
_SIGNS_OF_NO_HOST = ("resolving", "name resolution", "dns resolution")


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn the failure of a call to `address` into a `TtsError`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error, address) from None


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> TtsError:
    """Return the exception that stands for `error`."""
    status = _status_in(error)
    info = error_details_pb2.ErrorInfo()
    if not any(detail.Unpack(info) for detail in status.details) or info.domain != _DOMAIN:
        return _foreign(error, address)
    text = " ".join((error.details() or "").split())
    details = _details(status, info)
    details.status = error.code().name
    return BY_CATEGORY.get(details.category, TtsError)(text or info.reason, details)


def _details(status: status_pb2.Status, info: error_details_pb2.ErrorInfo) -> ErrorDetails:
    violations, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    details = ErrorDetails(
        reason=info.reason,
        category=info.metadata.get("category", ""),
        field=info.metadata.get("field", ""),
        stage=info.metadata.get("stage", ""),
        is_retryable=info.metadata.get("retryable") == "true",
        utterance_id=info.metadata.get("utterance_id", ""),
        capability=info.metadata.get("capability", ""),
    )
    for detail in status.details:
        if detail.Unpack(violations) and violations.field_violations:
            details.field = violations.field_violations[0].field
        elif detail.Unpack(retry):
            details.retry_after_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return details


def _foreign(error: grpc.aio.AioRpcError, address: str) -> TtsError:
    """Read a status that gRPC itself made, or a server that is not ours."""
    code, text = error.code(), " ".join((error.details() or "").split())
    kind = _BY_STATUS.get(code, TtsError)
    if "message larger than max" in text:
        # gRPC says RESOURCE_EXHAUSTED here too, but coming again would not help.
        kind = DecodeError
    details = ErrorDetails(status=code.name, is_retryable=kind in {IoError, QosError})
    return kind(_foreign_message(code, text, address), details)


def _foreign_message(code: grpc.StatusCode, text: str, address: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable_message(text, address)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"the server at {address} is no Triptych gateway, or an older one"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "the time given for this call is over"
    return text or f"the server at {address} says {code.name} without a reason"


def _unavailable_message(text: str, address: str) -> str:
    lower = text.lower()
    if any(sign in lower for sign in _SIGNS_OF_BAD_CERTIFICATE):
        return f"no safe connection to {address}: {text}"
    if any(sign in lower for sign in _SIGNS_OF_NO_HOST):
        return f"there is no such host: {address}"
    if "connect" in lower:
        return f"no server answers at {address}"
    return f"lost the connection to {address}: {text}"


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ProtobufDecodeError:
                break
    return status_pb2.Status()
