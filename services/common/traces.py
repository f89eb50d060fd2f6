"""One OpenTelemetry trace per utterance: a span per stage, an event per chunk.

Without an endpoint nothing is sent, but ids are real, so that logs of all processes can be joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common.errors import TtsError

Metadata: TypeAlias = "Iterable[tuple[str, str | bytes]] | None"
Value = str | int | float | bool

_PROPAGATOR = TraceContextTextMapPropagator()


class _Tracing:
    """The process's provider; `configure` replaces it."""

    provider = TracerProvider()


def configure(service: str, otlp_endpoint: str = "", *, processors: Iterable[SpanProcessor] = ()) -> None:
    """Name this process in its spans and send them to `otlp_endpoint`, unless that is empty.

    Args:
        service: Such as ``gpt_worker``.
        otlp_endpoint: An OTLP collector's gRPC address, such as ``http://collector:4317``.
        processors: Receive the spans too.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    for processor in processors:
        provider.add_span_processor(processor)
    if otlp_endpoint:
        provider.add_span_processor(_exporting_to(otlp_endpoint))
    _Tracing.provider = provider


def _exporting_to(endpoint: str) -> SpanProcessor:
    # Import late: it takes a third of a second that nobody needs without a collector.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://")))


def shutdown() -> None:
    """Send what has not been sent; call it last."""
    _Tracing.provider.shutdown()


def inject() -> tuple[tuple[str, str], ...]:
    """Return the metadata that makes the callee's spans children of the current one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())


def extract(metadata: Metadata) -> Context:
    """Return the context that a caller's metadata carries; an empty one if it carries none."""
    return _PROPAGATOR.extract({key: value for key, value in metadata or () if isinstance(value, str)})


@contextmanager
def server_span(name: str, metadata: Metadata, **attributes: Value) -> Iterator[Span]:
    """Open the span of a call that was received, below the caller's span."""
    with _span(name, SpanKind.SERVER, attributes, extract(metadata)) as span:
        yield span


@contextmanager
def stage_span(stage: str, **attributes: Value) -> Iterator[Span]:
    """Open the span of one utterance's stream to one stage, as the gateway sees it."""
    with _span(f"stage {stage}", SpanKind.CLIENT, {"stage": stage, **attributes}, None) as span:
        yield span


def annotate(**attributes: Value) -> None:
    """Add to the current span what was learnt after it began: lengths and ids, never content."""
    trace.get_current_span().set_attributes(attributes)


def chunk_event(index: int, **attributes: Value) -> None:
    """Note on the current span that a chunk left; attributes are lengths and ids, never content."""
    trace.get_current_span().add_event("chunk", {"chunk_index": index, **attributes})


@contextmanager
def _span(name: str, kind: SpanKind, attributes: dict[str, Value], parent: Context | None) -> Iterator[Span]:
    # The library would record an exception's message; an unforeseen one may hold the caller's text.
    with _Tracing.provider.get_tracer("triptych").start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            reason = error.reason if isinstance(error, TtsError) else type(error).__name__
            span.set_status(Status(StatusCode.ERROR, reason))
            raise
