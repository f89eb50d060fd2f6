"""What the gateway is told, beyond what all processes have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common.settings import load_settings
from services.frontend.settings import FrontendSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TTS_")]:
        monkeypatch.delenv(name)


def load(*flags: str) -> FrontendSettings:
    return load_settings(FrontendSettings, flags)


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        load(*flags)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_fresh_gateway_serves_the_mini_model_to_everyone() -> None:
    settings = load()
    assert settings.model_dirs == [Path("models/mini")]
    assert settings.api_token == SecretStr("")
    assert settings.voices_dir is None
    assert settings.worker_addresses == ["127.0.0.1:50061", "127.0.0.1:50062", "127.0.0.1:50063"]


def test_shared_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_VOICES_DIR", "recordings")
    monkeypatch.setenv("TTS_DEFAULT_VOICE", "anna")
    monkeypatch.setenv("TTS_MODEL_DIR", "models/other")
    monkeypatch.setenv("TTS_LOG_LEVEL", "error")
    monkeypatch.setenv("TTS_DEVICE", "cpu")  # for the workers
    settings = load()
    assert (settings.voices_dir, settings.default_voice) == (Path("recordings"), "anna")
    assert (settings.model_dir, settings.log_level) == (Path("models/other"), "error")


def test_the_default_model_comes_first() -> None:
    settings = load("--more-models", "b, c", "--model-dir", "a")
    assert settings.model_dirs == [Path("a"), Path("b"), Path("c")]


@pytest.mark.parametrize("workers", ["", ",", "gpt", "gpt:x", "a:1,b", "http://a:1"])
def test_workers_are_addresses(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    shown = refusal(capsys, f"--workers={workers}")
    assert "--workers is " in shown
    assert "host:port" in shown


def test_the_token_comes_from_the_environment_and_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_API_TOKEN", "s3cret")
    settings = load()
    assert settings.api_token.get_secret_value() == "s3cret"
    assert "TTS_API_TOKEN" not in os.environ
    assert "s3cret" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("token", ["two words", " ", "naïve", "tab\t", "line\n"])
def test_a_token_that_no_header_can_carry_is_refused_unshown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    monkeypatch.setenv("TTS_API_TOKEN", token)
    shown = refusal(capsys)
    assert "TTS_API_TOKEN: must be printable ASCII characters without spaces" in shown
    assert token.strip() == "" or token not in shown


def test_a_default_policy_must_suit_every_request(capsys: pytest.CaptureFixture[str]) -> None:
    """compat needs the whole text at once: texts that are still being written could not be spoken."""
    assert load("--default-policy", "latency").default_policy == "latency"
    assert "compat is asked for by name" in refusal(capsys, "--default-policy=compat")


@pytest.mark.parametrize("lead", ["0", "-1"])
def test_a_stage_lead_is_more_than_none(capsys: pytest.CaptureFixture[str], lead: str) -> None:
    assert "--stage-lead-seconds" in refusal(capsys, f"--stage-lead-seconds={lead}")
