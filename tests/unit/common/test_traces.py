"""One trace per utterance across processes."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.common import traces
from services.common.errors import DeadlineError


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.configure("test", processors=[SimpleSpanProcessor(exporter)])
    yield exporter
    traces.configure("test")


def test_callee_continues_the_callers_trace(exporter: InMemorySpanExporter) -> None:
    with traces.stage_span("gpt", utterance_id="u1") as caller:
        metadata = grpc.aio.Metadata(*traces.inject(), ("x-bin", b"\x00"))
    with traces.server_span("gpt.Run", metadata) as callee:
        traces.chunk_event(0, codes=12)

    ours, theirs = exporter.get_finished_spans()
    assert caller.get_span_context().trace_id == callee.get_span_context().trace_id
    assert theirs.parent is not None
    assert theirs.parent.span_id == caller.get_span_context().span_id
    assert dict(ours.attributes or {}) == {"stage": "gpt", "utterance_id": "u1"}
    assert [(event.name, dict(event.attributes or {})) for event in theirs.events] == [
        ("chunk", {"chunk_index": 0, "codes": 12})
    ]
    assert theirs.resource.attributes["service.name"] == "test"


def test_ids_are_real_without_an_endpoint() -> None:
    traces.configure("test")

    with traces.server_span("gateway.Synthesize", None) as span:
        assert span.get_span_context().is_valid
        assert traces.inject()[0][0] == "traceparent"


def test_nothing_is_sent_without_a_span() -> None:
    assert traces.inject() == ()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(DeadlineError("late"), "DEADLINE_EXCEEDED"), (ValueError("private"), "ValueError")],
)
def test_failed_span_says_why_and_nothing_private(
    exporter: InMemorySpanExporter, error: Exception, expected: str
) -> None:
    with pytest.raises(type(error)), traces.stage_span("gpt"):
        raise error

    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert span.status.description == expected
    assert span.events == ()


def test_endpoint_brings_an_exporter() -> None:
    traces.configure("test", "http://127.0.0.1:1")
    traces.shutdown()
    traces.configure("test")
