"""Flags, environment and defaults, and what a mistake in them says."""

from __future__ import annotations

import os

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings, load_settings


class WorkerSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TTS_TEST_")

    address: str = "127.0.0.1:50061"
    """Where the worker listens."""

    max_batch_size: int = Field(default=8, ge=1, le=256)
    """Utterances that share a step."""

    is_warm: bool = True
    """Whether to warm up."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TTS_")]:
        monkeypatch.delenv(name)


def test_flag_wins_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(WorkerSettings, []).max_batch_size == 8
    monkeypatch.setenv("TTS_TEST_MAX_BATCH_SIZE", "4")
    assert load_settings(WorkerSettings, []).max_batch_size == 4
    assert load_settings(WorkerSettings, ["--max-batch-size", "2"]).max_batch_size == 2


def test_switch_can_be_turned_off() -> None:
    assert not load_settings(WorkerSettings, ["--no-is-warm"]).is_warm


def test_settings_do_not_change() -> None:
    settings = load_settings(WorkerSettings, [])

    with pytest.raises(ValidationError, match="frozen"):
        settings.max_batch_size = 3  # type: ignore[misc]


def test_help_shows_the_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load_settings(WorkerSettings, ["--help"])

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--max-batch-size" in shown
    assert "Utterances that share a step." in shown
    assert "Where the worker listens." in shown


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        load_settings(WorkerSettings, argv)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown


def test_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTS_TEST_ADRESS", "127.0.0.1:1")

    assert "TTS_TEST_ADRESS is not a setting; did you mean TTS_TEST_ADDRESS?" in refusal([], capsys)


def test_variables_of_other_services_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_OTHER_ADRESS", "127.0.0.1:1")

    load_settings(WorkerSettings, [])


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTS_TEST_MAX_BATCH_SIZE", "0")
    monkeypatch.setenv("TTS_TEST_NOTHING", "1")

    shown = refusal(["--drain-seconds", "soon"], capsys)

    assert "3 wrong" in shown
    assert "--max-batch-size or TTS_TEST_MAX_BATCH_SIZE is '0': Input should be greater than or equal to 1" in shown
    assert "--drain-seconds or TTS_TEST_DRAIN_SECONDS is 'soon'" in shown
    assert "TTS_TEST_NOTHING is not a setting" in shown


def test_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--nothing" in refusal(["--nothing"], capsys)


@pytest.mark.parametrize("address", ["50051", "host:", ":50051", "host:70000", "::1:50051", "host:x", "a b:1"])
def test_address_must_be_host_and_port(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings, ["--address", address])

    assert "must be host:port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1:0", "127.0.0.1"), ("[::]:50051", "::"), ("gpt-0.gpt:50051", "gpt-0.gpt")],
)
def test_host_of_an_address(address: str, host: str) -> None:
    assert load_settings(ServiceSettings, ["--address", address]).host == host


def test_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_TEST_MAX_BATCH_SIZE", "")

    assert load_settings(WorkerSettings, []).max_batch_size == 8
