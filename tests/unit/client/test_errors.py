"""From a gRPC status to an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import triptych
from triptych import AsyncClient
from triptych.errors import BY_CATEGORY, from_rpc

from protos.tts.v1 import errors_pb2
from tests.unit.client.fake_server import Context, FakeGateway, refuse

CLASSES = {
    "CONFIG": triptych.ConfigError,
    "MODEL": triptych.ModelError,
    "AUDIO": triptych.AudioError,
    "TOKENIZER": triptych.TokenizerError,
    "IO": triptych.IoError,
    "DECODE": triptych.DecodeError,
    "TIMEOUT": triptych.DeadlineError,
    "QOS": triptych.QosError,
    "LATER": triptych.TtsError,
}


def test_every_published_category_has_a_class() -> None:
    names = (name.removeprefix("ERROR_CATEGORY_") for name in errors_pb2.ErrorCategory.keys()[1:])
    assert set(names) == set(BY_CATEGORY)


async def _pieces() -> AsyncIterator[str]:
    yield "Hi."


@pytest.mark.parametrize(("category", "expected"), CLASSES.items())
async def test_a_failure_has_the_class_of_its_category_and_says_why(
    client: AsyncClient, gateway: FakeGateway, category: str, expected: type[triptych.TtsError]
) -> None:
    async def refusal(context: Context) -> None:
        await refuse(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            "because",
            reason="SOME_REASON",
            category=category,
            field="config.seed",
            retry_seconds=0.25,
            retryable="false",
            stage="gpt",
            utterance_id="u9",
            capability="instruction",
        )

    gateway.refusal = refusal
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.synthesize("Hi."),
        lambda: client.analyze("Hi."),
        lambda: anext(client.synthesize_stream("Hi.")),
        lambda: anext(client.stream_text(_pieces())),
    ]
    for call in calls:
        with pytest.raises(triptych.TtsError) as caught:
            await call()
        error = caught.value
        assert type(error) is expected
        assert str(error) == "because"
        assert (error.status, error.reason, error.category) == ("INVALID_ARGUMENT", "SOME_REASON", category)
        assert (error.field, error.stage, error.utterance_id) == ("config.seed", "gpt", "u9")
        assert (error.capability, error.is_retryable, error.retry_after_seconds) == ("instruction", False, 0.25)
        assert error.__cause__ is None
        assert error.__suppress_context__


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, triptych.IoError),
        (grpc.StatusCode.CANCELLED, triptych.IoError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, triptych.DeadlineError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, triptych.QosError),
        (grpc.StatusCode.UNAUTHENTICATED, triptych.ConfigError),
        (grpc.StatusCode.UNIMPLEMENTED, triptych.TtsError),
        (grpc.StatusCode.INTERNAL, triptych.TtsError),
    ],
)
async def test_a_status_without_details_is_understood(
    client: AsyncClient, gateway: FakeGateway, code: grpc.StatusCode, expected: type[triptych.TtsError]
) -> None:
    async def refusal(context: Context) -> None:
        await context.abort(code, "as a proxy says")

    gateway.refusal = refusal
    with pytest.raises(triptych.TtsError) as caught:
        await client.synthesize("Hi.")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.reason) == (code.name, "")


async def test_a_message_that_is_too_large_is_no_refusal_for_now(client: AsyncClient) -> None:
    with pytest.raises(triptych.DecodeError) as caught:
        await client.synthesize("a" * (65 * 1024 * 1024))
    assert not caught.value.is_retryable


async def test_another_server_is_said_plainly(client: AsyncClient, gateway: FakeGateway, address: str) -> None:
    async def refusal(context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    gateway.refusal = refusal
    with pytest.raises(triptych.TtsError, match=f"^the server at {address} is no Triptych gateway, or an older one$"):
        await client.synthesize("Hi.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "errors resolving a.invalid:1: [hostname lookup error: Domain name not found]",
            "^there is no such host: a:1$",
        ),
        ("DNS resolution failed for a.invalid:1", "^there is no such host: a:1$"),
        ("failed to connect to all addresses", "^no server answers at a:1$"),
        ("Socket closed", "^lost the connection to a:1: Socket closed$"),
        ("connection error: certificate has expired", "^no safe connection to a:1: .*expired$"),
    ],
)
def test_an_unreachable_server_is_told_from_others(text: str, message: str) -> None:
    empty = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, text)
    with pytest.raises(triptych.IoError, match=message):
        raise from_rpc(error, "a:1")


async def test_no_server_is_said_plainly() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(triptych.IoError, match="^no server answers at 127.0.0.1:1$") as caught:
            await client.models()
    assert caught.value.is_retryable
