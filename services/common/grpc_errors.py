"""The one place where the project's errors become gRPC statuses with google.rpc details, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from services.common import errors, logs
from services.common.errors import TtsError
from services.common.guard import Context, Handler, guarded
from services.common.reasons import Reason

logger = structlog.get_logger(__name__)

AnyMessage = TypeVar("AnyMessage", bound=Message)

DOMAIN = "triptych"
DETAILS_KEY = "grpc-status-details-bin"

# Details travel twice, in grpc-message and in the details, and both ends limit metadata to 8 KiB by default.
MAX_MESSAGE_CHARACTERS = 1000
MAX_VALUE_CHARACTERS = 200

LOST_RETRY_SECONDS = 1.0

STATUS_OF: dict[type[TtsError], grpc.StatusCode] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.WrongModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.StageFailedError: grpc.StatusCode.INTERNAL,
    errors.StageLostError: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}

# What a status without our details stands for. CANCELLED is the peer's doing here: a call that this side
# cancels ends in asyncio.CancelledError, and a server that dies cancels what it has.
_ERROR_OF: dict[grpc.StatusCode, type[TtsError]] = {
    **{status: kind for kind, status in STATUS_OF.items() if kind not in {errors.TooLargeError, errors.NotFoundError}},
    grpc.StatusCode.CANCELLED: errors.StageLostError,
}

_SIGNS_OF_LOSS = (
    "RST_STREAM",
    "Stream removed",
    # grpc.aio 1.85, when the peer ended the call while this side was sending, whatever the peer said.
    "Internal error from Core",
)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends every failed call with a status, a message and details; handlers only raise."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        return guarded(await continuation(handler_call_details), partial(_end, handler_call_details.method))


@asynccontextmanager
async def _end(method: str, context: Context) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except errors.UnknownHealthNameError as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
        known = next(_known_errors(error), None)
        if known is None:
            # Not logger.exception: the message may quote the caller.
            logger.error(  # noqa: TRY400
                "call_broke", method=method, error=type(error).__name__, exception=logs.outline(error)
            )
            known = TtsError("internal error; the log has the details")
        else:
            logger.warning(
                "call_failed", method=method, reason=known.reason, field=_logged(known.field), stage=known.stage
            )
        await context.abort_with_status(rpc_status.to_status(to_status(known)))


def _logged(field: str) -> str:
    """A field's path without the name of a parameter, which is the caller's own word."""
    return "config.params" if field.startswith("config.params[") else field


def _known_errors(error: Exception) -> Iterator[TtsError]:
    """Yield what can be told to the caller, looking into the groups that asyncio.TaskGroup raises."""
    if isinstance(error, TtsError):
        yield error
    elif isinstance(error, grpc.aio.AioRpcError):
        yield from_rpc_error(error)
    elif isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _known_errors(part)


def status_of(error: TtsError) -> grpc.StatusCode:
    """Return the status of the error's class or of its nearest base in the table."""
    return next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), grpc.StatusCode.INTERNAL)


def to_status(error: TtsError) -> status_pb2.Status:
    """Turn an error into the message that `rpc_status.to_status` and `grpc-status-details-bin` carry."""
    code: int = status_of(error).value[0]
    status = status_pb2.Status(code=code, message=_clip(error.message, MAX_MESSAGE_CHARACTERS))
    for detail in _details(error):
        status.details.add().Pack(detail)
    return status


def _details(error: TtsError) -> Iterator[Message]:
    metadata = {name: _clip(value) for name, value in _metadata(error).items() if value}
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clip(error.field),
            description=_clip(error.message, MAX_MESSAGE_CHARACTERS),
            reason=error.reason,
        )
        yield error_details_pb2.BadRequest(field_violations=[violation])
    if isinstance(error, errors.OverloadedError | errors.StageLostError):
        retry = error_details_pb2.RetryInfo()
        seconds = getattr(error, "retry_after_seconds", LOST_RETRY_SECONDS)
        retry.retry_delay.FromMilliseconds(round(1000 * seconds))
        yield retry
    if isinstance(error, errors.NotFoundError):
        yield error_details_pb2.ResourceInfo(
            resource_type=_clip(error.metadata.get("resource_type", error.field)),
            resource_name=_clip(error.metadata.get("resource_name", "")),
        )


def _metadata(error: TtsError) -> dict[str, str]:
    bound = structlog.contextvars.get_contextvars()
    return {
        "utterance_id": str(bound.get("utterance_id", "")),
        **error.metadata,
        "category": error.reason.category,
        "stage": error.stage,
        "field": error.field,
        "retryable": "true" if error.is_retryable else "false",
    }


def _clip(text: str, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """Shorten, and replace what UTF-8 cannot say (lone surrogates), which protobuf would refuse."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.encode("utf-8", "replace").decode("utf-8")


def from_rpc_error(error: grpc.aio.AioRpcError, stage: str = "") -> TtsError:
    """Turn a failed call to a worker into the error that the worker raised, or that its silence means.

    Args:
        error: What the call ended with.
        stage: The stage that was called, unless the details name one.
    """
    status = _status_in(error)
    info = _unpacked(status, error_details_pb2.ErrorInfo())
    if info is None or info.domain != DOMAIN:
        return _foreign(error, stage)
    if info.reason in Reason.__members__:
        reason = Reason(info.reason)
        known = errors.kind_of(reason)(status.message, reason=reason)
    else:
        known = _ERROR_OF.get(error.code(), errors.StageFailedError)(status.message)
    known.metadata = dict(info.metadata)
    known.field = known.metadata.pop("field", "")
    known.stage = known.metadata.pop("stage", "") or stage
    known.metadata.pop("retryable", None)
    known.metadata.pop("category", None)
    retry = _unpacked(status, error_details_pb2.RetryInfo())
    if isinstance(known, errors.OverloadedError) and retry is not None:
        known.retry_after_seconds = retry.retry_delay.ToMilliseconds() / 1000
    return known


def _foreign(error: grpc.aio.AioRpcError, stage: str) -> TtsError:
    """Read a status that gRPC itself made, or a server that is not ours."""
    code, details = error.code(), error.details() or ""
    kind = _ERROR_OF.get(code, errors.StageFailedError)
    if any(sign in details for sign in _SIGNS_OF_LOSS):
        kind = errors.StageLostError
    elif "message larger than max" in details:
        # gRPC says RESOURCE_EXHAUSTED here too, but no retry would help.
        return errors.TooLargeError(
            f"{stage or 'the peer'}: {_clip(details)}", reason=Reason.MESSAGE_TOO_LARGE, stage=stage
        )
    return kind(f"{stage or 'the peer'} answered {code.name}: {_clip(details)}", stage=stage)


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _unpacked(status: status_pb2.Status, into: AnyMessage) -> AnyMessage | None:
    return next((into for detail in status.details if detail.Unpack(into)), None)
