"""Errors on the wire: one status and one set of details for each, and the way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from protos.tts.v1.voices_pb2 import CreateVoiceConfig
from services.common import errors, grpc_errors, logs
from services.common.errors import TtsError
from services.common.reasons import Reason
from tests.unit.common.serving import SERVICE, Context, echo_handlers, register, served

PRIVATE = "the caller's own words"


def every_error() -> list[type[TtsError]]:
    return TtsError.__subclasses__()


def every_error_with_a_default() -> list[type[TtsError]]:
    """What is not found has to be named; every reason round-trips below."""
    return [kind for kind in every_error() if kind is not errors.NotFoundError]


def rpc_error(error: TtsError) -> grpc.aio.AioRpcError:
    """Return what a caller of a server that raised `error` sees."""
    status = grpc_errors.to_status(error)
    return grpc.aio.AioRpcError(
        grpc_errors.status_of(error),
        trailing_metadata=grpc.aio.Metadata((grpc_errors.DETAILS_KEY, status.SerializeToString())),
        details=status.message,
    )


def details_of(error: TtsError, into: Any) -> Any:
    found = [into for detail in grpc_errors.to_status(error).details if detail.Unpack(into)]
    return found[0] if found else None


def test_every_error_has_a_status() -> None:
    assert set(grpc_errors.STATUS_OF) == set(every_error())


@pytest.mark.parametrize("kind", every_error_with_a_default())
def test_error_round_trips(kind: type[TtsError]) -> None:
    """What a worker raises is what the gateway raises."""
    sent = kind("wrong", field="config.seed", stage="gpt")

    got = grpc_errors.from_rpc_error(rpc_error(sent))

    assert type(got) is kind
    assert (got.message, got.field, got.stage, got.reason) == (
        "wrong",
        "config.seed",
        "gpt",
        kind.default_reason,
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_round_trips_with_its_class(reason: Reason) -> None:
    kind = errors.kind_of(reason)

    got = grpc_errors.from_rpc_error(rpc_error(kind("wrong", reason=reason, metadata={"segment": "3"})), stage="s2mel")

    assert type(got) is kind
    assert (got.reason, got.metadata, got.stage) == (reason, {"segment": "3"}, "s2mel")


@pytest.mark.parametrize("kind", [TtsError, *every_error_with_a_default()])
def test_error_info_is_always_there(kind: type[TtsError]) -> None:
    info = details_of(kind("wrong", stage="gpt"), error_details_pb2.ErrorInfo())

    assert info.domain == "triptych"
    assert info.reason == kind.default_reason
    assert dict(info.metadata) == {
        "category": kind.default_reason.category,
        "stage": "gpt",
        "retryable": "true" if kind.is_retryable else "false",
    }


def test_reason_of_a_newer_server_is_known_by_its_status() -> None:
    status = grpc_errors.to_status(errors.OverloadedError("full"))
    status.details[0].Pack(error_details_pb2.ErrorInfo(reason="TOO_LOUD", domain=grpc_errors.DOMAIN))
    metadata = grpc.aio.Metadata((grpc_errors.DETAILS_KEY, status.SerializeToString()))

    got = grpc_errors.from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata, metadata))

    assert (type(got), got.reason) == (errors.OverloadedError, Reason.OVERLOADED)


def test_not_found_of_a_peer_that_is_not_ours_is_no_missing_voice() -> None:
    nothing = grpc.aio.Metadata()

    got = grpc_errors.from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, nothing, nothing), "gpt")

    assert (type(got), got.reason) == (errors.StageFailedError, Reason.STAGE_FAILED)


def test_word_that_is_no_reason_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="NO_AUDIO"):
        errors.StageFailedError("wrong", reason="NO_AUDIO")  # type: ignore[arg-type]


def test_field_becomes_a_field_violation() -> None:
    error = errors.InvalidRequestError("top_p is 2, allowed is 0 to 1", field="config.sampling.top_p")

    violation = details_of(error, error_details_pb2.BadRequest()).field_violations[0]

    assert violation.field == "config.sampling.top_p"
    assert violation.description == "top_p is 2, allowed is 0 to 1"
    assert details_of(errors.InvalidRequestError("wrong"), error_details_pb2.BadRequest()) is None


def test_overload_says_when_to_retry() -> None:
    sent = errors.OverloadedError("full", retry_after_seconds=2.5)

    retry = details_of(sent, error_details_pb2.RetryInfo())
    got = grpc_errors.from_rpc_error(rpc_error(sent))

    assert retry.retry_delay.ToMilliseconds() == 2500
    assert isinstance(got, errors.OverloadedError)
    assert got.retry_after_seconds == 2.5


def test_lost_stage_may_be_retried() -> None:
    retry = details_of(errors.StageLostError("gone"), error_details_pb2.RetryInfo())

    assert retry.retry_delay.ToMilliseconds() > 0


def test_not_found_names_the_resource() -> None:
    metadata = {"resource_type": "voice", "resource_name": "anna"}

    error = errors.NotFoundError("none", reason=Reason.VOICE_NOT_FOUND, metadata=metadata)
    resource = details_of(error, error_details_pb2.ResourceInfo())

    assert (resource.resource_type, resource.resource_name) == ("voice", "anna")


def test_bound_utterance_is_named() -> None:
    with structlog.contextvars.bound_contextvars(utterance_id="u1"):
        info = details_of(errors.StageFailedError("wrong"), error_details_pb2.ErrorInfo())

    assert info.metadata["utterance_id"] == "u1"


def test_unspeakable_and_endless_messages_still_travel() -> None:
    """Lone surrogates break protobuf, and metadata has a limit; neither may hide the error."""
    status = grpc_errors.to_status(errors.InvalidRequestError("\ud800" * 100_000, field="x" * 100_000))

    assert status.ByteSize() < 8000


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", errors.StageLostError),
        (grpc.StatusCode.CANCELLED, "", errors.StageLostError),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", errors.StageLostError),
        (grpc.StatusCode.UNKNOWN, "Stream removed", errors.StageLostError),
        (grpc.StatusCode.INTERNAL, "Internal error from Core", errors.StageLostError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", errors.OverloadedError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (9 vs. 8)",
            errors.TooLargeError,
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.DeadlineError),
        (grpc.StatusCode.INVALID_ARGUMENT, "", errors.InvalidRequestError),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.StageFailedError),
    ],
)
def test_status_without_details_is_understood(code: grpc.StatusCode, details: str, expected: type[TtsError]) -> None:
    got = grpc_errors.from_rpc_error(grpc.aio.AioRpcError(code, None, None, details), stage="gpt")

    assert type(got) is expected
    assert got.stage == "gpt"


def test_damaged_details_are_no_details() -> None:
    metadata = grpc.aio.Metadata((grpc_errors.DETAILS_KEY, b"\xff\xff"))

    got = grpc_errors.from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, None, metadata, "x"))

    assert type(got) is errors.StageFailedError


class Broken:
    """Raises the given error from all four kinds of method; streams raise after one answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def one(self, request: Any, context: Context) -> bytes:
        await self._read_all(request)
        raise self._error

    async def many(self, request: Any, context: Context) -> AsyncIterator[bytes]:
        await self._read_all(request)
        yield b"first"
        raise self._error

    async def _read_all(self, request: Any) -> None:
        # A caller that is still sending when the call ends may see grpc.aio's own "Internal error from Core".
        if not isinstance(request, bytes):
            async for _ in request:
                pass

    def handlers(self) -> dict[str, Any]:
        return {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(self.one),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.many),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.one),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.many),
        }


async def failures(error: Exception) -> dict[str, grpc.aio.AioRpcError]:
    """Return how each kind of call to a broken method ends."""
    ends: dict[str, grpc.aio.AioRpcError] = {}
    async with served(register(Broken(error).handlers())) as server:
        channel: Any = server.channel
        name = f"/{SERVICE}/"
        calls: dict[str, Any] = {
            "UnaryUnary": channel.unary_unary(name + "UnaryUnary")(b""),
            "UnaryStream": channel.unary_stream(name + "UnaryStream")(b""),
            "StreamUnary": channel.stream_unary(name + "StreamUnary")(iter([b""])),
            "StreamStream": channel.stream_stream(name + "StreamStream")(iter([b""])),
        }
        for kind, call in calls.items():
            if kind.endswith("Stream"):
                assert await call.read() == b"first"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await (call.read() if kind.endswith("Stream") else call)
            ends[kind] = caught.value
    return ends


async def test_all_kinds_of_method_end_with_status_and_details() -> None:
    ends = await failures(errors.OverloadedError("full", retry_after_seconds=3))

    assert len(ends) == 4
    for end in ends.values():
        got = grpc_errors.from_rpc_error(end)
        assert end.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(got, errors.OverloadedError)
        assert got.retry_after_seconds == 3


@pytest.mark.usefixtures("quiet_logs")
async def test_unforeseen_error_tells_the_caller_nothing_private(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller learns that it was our fault; the log has the frames, and neither has the message."""
    logs.configure("test")

    ends = await failures(ValueError(PRIVATE))

    for end in ends.values():
        assert end.code() is grpc.StatusCode.INTERNAL
        assert PRIVATE not in str(end.details())
        assert PRIVATE not in str(end.trailing_metadata())
        assert grpc_errors.from_rpc_error(end).reason == "INTERNAL_ERROR"
    output = capsys.readouterr().out
    assert PRIVATE not in output
    broke = [json.loads(line) for line in output.splitlines() if "call_broke" in line]
    assert len(broke) == 4
    assert broke[0]["error"] == "ValueError"
    assert "test_grpc_errors.py" in broke[0]["exception"]


async def test_error_inside_a_task_group_is_found() -> None:
    ends = await failures(ExceptionGroup("tasks", [errors.DeadlineError("late")]))

    assert {end.code() for end in ends.values()} == {grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_request_that_is_no_message_is_an_invalid_argument() -> None:
    """grpc.aio itself would end the call with UNKNOWN and nothing else."""

    async def one(request: Any, context: Context) -> bytes:
        if not isinstance(request, CreateVoiceConfig):
            async for _ in request:
                pass
        return b""

    parse = CreateVoiceConfig.FromString
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(one, request_deserializer=parse),
        "Stream": grpc.stream_unary_rpc_method_handler(one, request_deserializer=parse),
    }
    good, surrogate = CreateVoiceConfig(name="anna").SerializeToString(), b"\x0a\x03\xed\xa0\x80"
    async with served(register(handlers)) as server:
        channel: Any = server.channel
        stream = channel.stream_unary(f"/{SERVICE}/Stream")
        assert await server.unary("Unary")(good) == b""
        assert await stream(iter([good, good])) == b""
        for call in (server.unary("Unary")(surrogate), stream(iter([good, surrogate]))):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            got = grpc_errors.from_rpc_error(caught.value)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (got.field, got.reason) == ("request", "NOT_DECODABLE")


async def test_own_abort_is_left_alone() -> None:
    async def abort(_request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.DATA_LOSS, "own words")

    async with served(register(echo_handlers({"Abort": abort}))) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.unary("Abort")(b"")

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "own words")


async def test_unknown_method_stays_unimplemented() -> None:
    async with served() as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.unary("Nothing")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_hang_up_closes_the_generator_at_once_in_its_own_task() -> None:
    """Slots are given back in a `finally`; it may not wait for the garbage collector."""
    closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def endless(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
        task = asyncio.current_task()
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set_result(asyncio.current_task() is task)

    async with served(register(echo_handlers({"Endless": endless}, streaming=True))) as server:
        call = server.stream("Endless")(b"")
        await call.read()
        call.cancel()
        assert await asyncio.wait_for(closed, 5)


@pytest.mark.parametrize(
    ("field", "logged"),
    [("config.params[what_the_caller_wrote]", "config.params"), ("open.params[top_p]", "open.params[top_p]")],
)
async def test_log_of_a_failed_call_has_no_word_of_the_callers(field: str, logged: str) -> None:
    async def refuse(_request: bytes, _context: Context) -> bytes:
        raise errors.InvalidRequestError("wrong", field=field)

    with capture_logs() as lines:
        async with served(register(echo_handlers({"Refuse": refuse}))) as server:
            with pytest.raises(grpc.aio.AioRpcError):
                await server.unary("Refuse")(b"")

    assert [line["field"] for line in lines if line["event"] == "call_failed"] == [logged]
