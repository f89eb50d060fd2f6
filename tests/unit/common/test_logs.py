"""What a log line carries."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from services.common import logs, traces

pytestmark = pytest.mark.usefixtures("quiet_logs")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_line_names_service_utterance_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line can be joined with the trace of its request."""
    logs.configure("gpt_worker")
    with (
        structlog.contextvars.bound_contextvars(utterance_id="u1", session_id="s1"),
        traces.stage_span("gpt") as span,
    ):
        structlog.get_logger().info("codes_done", num_codes=3)

    (line,) = lines(capsys)
    assert line["event"] == "codes_done"
    assert line["level"] == "info"
    assert line["service"] == "gpt_worker"
    assert (line["utterance_id"], line["session_id"], line["num_codes"]) == ("u1", "s1", 3)
    assert line["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert line["timestamp"].endswith("Z")


def test_standard_library_goes_through_the_same_renderer(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("gateway")
    with structlog.contextvars.bound_contextvars(utterance_id="u1"):
        logging.getLogger("grpc._cython").warning("broken %s", "pipe")

    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("broken pipe", "warning", "grpc._cython")
    assert (line["service"], line["utterance_id"]) == ("gateway", "u1")


def test_exceptions_are_types_and_places_without_what_they_quote(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("gateway")
    try:
        int("secret")
    except ValueError:
        structlog.get_logger().exception("ours")
        logging.getLogger("theirs").exception("theirs")

    ours, theirs = lines(capsys)
    for line in (ours, theirs):
        assert line["exception"].startswith("ValueError\n")
        assert "test_logs.py" in line["exception"]
        assert "secret" not in str(line)


def test_causes_and_parts_of_an_exception_are_outlined() -> None:
    error = ExceptionGroup("secret", [ValueError("secret")])
    error.__cause__ = KeyError("secret")

    assert logs.outline(error).split() == ["KeyError", "then", "ExceptionGroup", "ValueError"]


def test_level_holds_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("gateway", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("theirs").info("quiet")
    structlog.get_logger().warning("loud")

    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_nothing_fails_when_stdout_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _text: str) -> None:
            raise BrokenPipeError

    logs.configure("gateway")
    monkeypatch.setattr("sys.stdout", Closed())

    structlog.get_logger().info("unheard")


def test_libraries_that_tell_of_every_change_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("gateway")
    watcher = logging.getLogger("watchfiles.main")
    watcher.info("1 change detected")
    watcher.warning("something is wrong")

    assert [line["event"] for line in lines(capsys)] == ["something is wrong"]
