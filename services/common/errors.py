"""What can go wrong while speaking, in the project's own words.

Nothing here knows gRPC: `grpc_errors` gives every class its status and its details.
"""

from __future__ import annotations


class TtsError(Exception):
    """Base of every failure that this project raises on purpose.

    Args:
        message: What was wrong, with the value, and what is allowed. Never the caller's text.
        field: Path of the request field at fault, such as ``config.sampling.top_p``.
        reason: UPPER_SNAKE_CASE name that programs can test for; the class's own when empty.
        stage: The stage at fault, such as ``gpt``.
        metadata: Further named values for the caller.
    """

    default_reason = "FAILED"
    is_retryable = False

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        reason: str = "",
        stage: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = reason or self.default_reason
        self.stage = stage
        self.metadata = metadata or {}


class InvalidRequestError(TtsError):
    """The caller sent something that will never work; do not retry."""

    default_reason = "INVALID_ARGUMENT"


class NotFoundError(TtsError):
    """The voice or model that was named does not exist."""

    default_reason = "NOT_FOUND"


class AlreadyExistsError(TtsError):
    """The name is taken by something else."""

    default_reason = "ALREADY_EXISTS"


class WrongModelError(TtsError):
    """The stream is meant for another model or another revision than this worker serves."""

    default_reason = "WRONG_MODEL"


class OverloadedError(TtsError):
    """All slots are taken and the queue is full; retry after a while."""

    default_reason = "OVERLOADED"
    is_retryable = True

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0, **details: str) -> None:
        super().__init__(message, field=details.get("field", ""), stage=details.get("stage", ""))
        self.retry_after_seconds = retry_after_seconds


class TooLargeError(TtsError):
    """A recording or a text is over its limit."""

    default_reason = "TOO_LARGE"


class StageFailedError(TtsError):
    """A stage broke while it worked on a valid request."""

    default_reason = "STAGE_FAILED"


class StageLostError(TtsError):
    """A worker is gone, going or not there yet; another one may answer."""

    default_reason = "STAGE_LOST"
    is_retryable = True


class DeadlineError(TtsError):
    """The caller's deadline passed before the work was done."""

    default_reason = "DEADLINE_EXCEEDED"


class CancelledError(TtsError):
    """The caller went away."""

    default_reason = "CANCELLED"
