"""What can go wrong while speaking, in the project's own words.

Nothing here knows gRPC: `grpc_errors` gives every class its status and its details.
"""

from __future__ import annotations

from services.common.reasons import Reason


class TtsError(Exception):
    """Base of every failure that this project raises on purpose.

    Args:
        message: What was wrong, with the value, and what is allowed. Never the caller's text.
        field: Path of the request field at fault, such as ``config.sampling.top_p``.
        reason: Name that programs can test for; the class's own unless given. `kind_of` says whose it is.
        stage: The stage at fault, such as ``gpt``.
        metadata: Further named values for the caller.
    """

    default_reason = Reason.INTERNAL_ERROR
    is_retryable = False

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        reason: Reason | None = None,
        stage: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = Reason(reason or self.default_reason)
        self.stage = stage
        self.metadata = metadata or {}


class InvalidRequestError(TtsError):
    """The caller sent something that will never work; do not retry."""

    default_reason = Reason.FIELD_INVALID


class UnauthenticatedError(TtsError):
    """The call has no token, or a wrong one."""

    default_reason = Reason.UNAUTHENTICATED


class NotFoundError(TtsError):
    """What was named does not exist; the reason, which has no default, says what kind of thing it is."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        field: str = "",
        stage: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=field, reason=reason, stage=stage, metadata=metadata)


class AlreadyExistsError(TtsError):
    """The name is taken by something else."""

    default_reason = Reason.VOICE_NAME_TAKEN


class WrongModelError(TtsError):
    """The stream is meant for another model or another revision than this worker serves."""

    default_reason = Reason.WRONG_MODEL


class OverloadedError(TtsError):
    """All slots are taken and the queue is full; retry after a while."""

    default_reason = Reason.OVERLOADED
    is_retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float = 1.0,
        field: str = "",
        reason: Reason | None = None,
        stage: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=field, reason=reason, stage=stage, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class TooLargeError(TtsError):
    """A recording or a text is over its limit."""

    default_reason = Reason.RECORDING_TOO_LARGE


class StageFailedError(TtsError):
    """A stage broke while it worked on a valid request."""

    default_reason = Reason.STAGE_FAILED


class StageLostError(TtsError):
    """A worker is gone, going or not there yet; another one may answer."""

    default_reason = Reason.STAGE_LOST
    is_retryable = True


class DeadlineError(TtsError):
    """The caller's deadline passed before the work was done."""

    default_reason = Reason.DEADLINE_EXCEEDED


class UnknownHealthNameError(LookupError):
    """A health name that is not served. No TtsError: probes expect a bare NOT_FOUND, without a reason."""


_KIND_OF: dict[Reason, type[TtsError]] = {
    Reason.VOICE_NAME_TAKEN: AlreadyExistsError,
    Reason.VOICE_NOT_FOUND: NotFoundError,
    Reason.MODEL_NOT_FOUND: NotFoundError,
    Reason.RECORDING_GONE: NotFoundError,
    Reason.UNAUTHENTICATED: UnauthenticatedError,
    Reason.WRONG_MODEL: WrongModelError,
    Reason.STAGE_FAILED: StageFailedError,
    Reason.VOICE_STEPS_INCOMPLETE: StageFailedError,
    Reason.INTERNAL_ERROR: TtsError,
    Reason.STORE_FAILED: TtsError,
    Reason.RECORDING_TOO_LONG: TooLargeError,
    Reason.RECORDING_TOO_LARGE: TooLargeError,
    Reason.MESSAGE_TOO_LARGE: TooLargeError,
    Reason.PIPELINE_INCOMPLETE: StageLostError,
    Reason.STAGE_LOST: StageLostError,
    Reason.SERVER_STOPPED: StageLostError,
    Reason.DEADLINE_EXCEEDED: DeadlineError,
    Reason.FIRST_AUDIO_TIMEOUT: DeadlineError,
    Reason.STREAM_IDLE: DeadlineError,
    Reason.CLIENT_STALLED: DeadlineError,
    Reason.OVERLOADED: OverloadedError,
    Reason.TOO_MANY_STREAMS: OverloadedError,
}


def kind_of(reason: Reason) -> type[TtsError]:
    """The class whose errors have this reason: a reason has one status, wherever it comes from."""
    return _KIND_OF.get(reason, InvalidRequestError)
