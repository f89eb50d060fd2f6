"""JSON log lines on stdout through structlog, with service, utterance and trace on each.

Text to speak is personal data and is never logged; log its length. Of exceptions, only types and places are logged:
their messages may quote what was spoken.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


CHATTY = ("watchfiles",)
"""Loggers of libraries that tell of every small thing at level info."""


def configure(service: str, level: str = "info") -> None:
    """Send structlog and the standard library's loggers (grpc, torch, asyncio) through one renderer.

    Args:
        service: Goes on every line, such as ``gpt_worker``.
        level: debug, info, warning or error.
    """
    threshold = LEVELS[level]
    shared = _shared_processors(service)
    render: list[Processor] = [structlog.processors.ExceptionRenderer(_outline), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_stdout_logger,
        cache_logger_on_first_use=False,
    )
    handler = _StdoutHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


def outline(error: BaseException) -> str:
    """The types and the frames of an exception, of its causes and of its parts, without their messages."""
    return "\n".join(_lines(error))


def _outline(exc_info: ExcInfo) -> str:
    return outline(exc_info[1])


def _lines(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _lines(before)
        yield "then"
    yield type(error).__qualname__
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno}:{frame.name}"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _lines(part)


def _shared_processors(service: str) -> list[Processor]:
    def add_origin(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = f"{span.trace_id:032x}"
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_origin,
    ]


class _StdoutLogger:
    """Writes finished lines; looks stdout up each time, since tests and tools replace it."""

    def msg(self, line: str) -> None:
        # A reader who left must not take the service with it.
        with suppress(OSError, ValueError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _StdoutHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _StdoutLogger().msg(self.format(record))


def _stdout_logger(*_args: Any) -> _StdoutLogger:
    return _StdoutLogger()
