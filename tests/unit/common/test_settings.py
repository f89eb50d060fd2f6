"""Flags, environment, file and defaults, and what a mistake in them says."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from services.common.settings import (
    Address,
    CommaList,
    Model,
    Runtime,
    Server,
    ServiceSettings,
    load_settings,
    read_settings,
)
from services.common.settings.shown import to_toml


class WorkerSettings(ServiceSettings):
    """The worker of these tests."""

    model_config = SettingsConfigDict(env_prefix="TTS_TEST_")

    address: Server[str] = "127.0.0.1:50061"
    """Where the worker listens."""

    model_dir: Model[Path] = Path("models/mini")
    """Its checkpoint."""

    more_dirs: Model[CommaList[Path]] = ()
    """Further checkpoints."""

    peers: Server[CommaList[Address]] = ()
    """Other workers."""

    max_batch_size: Runtime[int] = Field(default=8, ge=1, le=256)
    """Utterances that share a step."""

    is_warm: Runtime[bool] = True
    """Whether to warm up."""

    mode: Runtime[Literal["fast", "exact"]] = "fast"
    """How to compute."""

    cache_dir: Runtime[Path | None] = None
    """Where to keep things."""

    secret_word: Server[SecretStr] = SecretStr("")
    """What callers must know."""


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

    assert shown.startswith("test: 3 wrong settings\n")
    assert "  TTS_TEST_MAX_BATCH_SIZE is '0': Input should be greater than or equal to 1" in shown
    assert "  --drain-seconds is 'soon': Input should be a valid number" in shown
    assert "TTS_TEST_NOTHING is not a setting" in shown


def test_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--nothing is not a setting\n" in refusal(["--nothing"], capsys)
    assert "--max-batch-siz is not a setting; did you mean --max-batch-size?" in refusal(["--max-batch-siz=3"], capsys)


def test_arguments_that_belong_to_no_flag_are_refused_unshown(capsys: pytest.CaptureFixture[str]) -> None:
    shown = refusal(["--secret-word", "open", "sesame"], capsys)
    assert "belongs to no flag" in shown
    assert "sesame" not in shown
    assert "sesame" not in refusal(["--secret-wort", "sesame"], capsys)
    assert "--max-batch-size: expected one argument" in refusal(["--max-batch-size"], capsys)


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


# The shared prefix.


def test_own_variable_wins_over_the_shared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_MAX_BATCH_SIZE", "4")
    assert load_settings(WorkerSettings, []).max_batch_size == 4
    monkeypatch.setenv("TTS_TEST_MAX_BATCH_SIZE", "5")
    assert load_settings(WorkerSettings, []).max_batch_size == 5


@pytest.mark.parametrize(
    "name",
    [
        "TTS_VOICES_DIR",  # of the gateway
        "TTS_DTYPE",  # of the workers
        "TTS_GPT_MAX_BATCH_SIZ",  # misspelt, for another process to complain of
        "TTS_HOME",
        "TTS_CACHE_OF_ANOTHER_PROGRAM",
    ],
)
def test_shared_variables_may_be_meant_for_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert load_settings(WorkerSettings, []) == WorkerSettings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TTS_MODLE_DIR", "TTS_MODEL_DIR"),
        ("TTS_LOGLEVEL", "TTS_LOG_LEVEL"),
        ("TTS_MAX_BATCHSIZE", "TTS_MAX_BATCH_SIZE"),
    ],
)
def test_shared_variable_that_looks_misspelt_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "x")
    assert f"{name} is not a setting; did you mean {meant}?" in refusal([], capsys)


# The file.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def with_file(path: Path, text: str, *flags: str) -> list[str]:
    path.write_text(text, "utf-8")
    return ["--config", str(path), *flags]


def test_empty_flag_is_a_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTS_TEST_OTLP_ENDPOINT", "http://collector:4317")
    assert load_settings(WorkerSettings, ["--otlp-endpoint", ""]).otlp_endpoint == ""
    assert "--max-batch-size is ''" in refusal(["--max-batch-size", ""], capsys)


def test_file_loses_to_environment_and_wins_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = with_file(file, "[runtime]\nmax_batch_size = 3\nis_warm = false\n")
    settings = load_settings(WorkerSettings, argv)
    assert (settings.max_batch_size, settings.is_warm, settings.mode) == (3, False, "fast")
    monkeypatch.setenv("TTS_MAX_BATCH_SIZE", "4")
    assert load_settings(WorkerSettings, argv).max_batch_size == 4
    assert load_settings(WorkerSettings, [*argv, "--max-batch-size", "5"]).max_batch_size == 5


def test_table_of_the_process_wins_over_the_shared_one_in_any_order(file: Path) -> None:
    argv = with_file(file, "[runtime.test]\nmax_batch_size = 3\n[runtime]\nmax_batch_size = 2\nmode = 'exact'\n")
    settings = load_settings(WorkerSettings, argv)
    assert (settings.max_batch_size, settings.mode) == (3, "exact")


def test_one_file_serves_several_processes(file: Path) -> None:
    text = """
        [model]
        voices_dir = "of the gateway"
        [runtime]
        threads = 2
        [runtime.gpt]
        slots = 8
        [server.frontend]
        address = "0.0.0.0:50051"
    """
    assert load_settings(WorkerSettings, with_file(file, text)) == WorkerSettings()


def test_lists_have_commas_outside_and_are_arrays_in_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = (Path("a"), Path("b"))
    assert load_settings(WorkerSettings, ["--more-dirs", "a, b"]).more_dirs == both
    assert load_settings(WorkerSettings, with_file(file, '[model]\nmore_dirs = ["a", "b"]')).more_dirs == both
    monkeypatch.setenv("TTS_TEST_MORE_DIRS", "a,b,")
    assert load_settings(WorkerSettings, []).more_dirs == both


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[runtime]\nmax_batch_siz = 3",
            "runtime.max_batch_siz is not a setting; did you mean runtime.max_batch_size?",
        ),
        ("[runtime]\nzzz = 3", "runtime.zzz is not a setting\n"),
        ("[runtime]\naddress = 'a:1'", "runtime.address belongs to [server]"),
        ("[runtime]\nvoices_dir = 'a'", "runtime.voices_dir belongs to [model]"),
        ("[runtime.test]\nmodel_dir = 'a'", "runtime.test.model_dir belongs to [model.test]"),
        ("[model]\nmax_batch_siz = 3", "model.max_batch_siz is not a setting; did you mean runtime.max_batch_size?"),
        ("[runtime.test]\nvoices_dir = 'a'", "runtime.test.voices_dir is not a setting of test"),
        ("[runtime.gpt]\nslotz = 1", "runtime.gpt.slotz is not a setting of gpt; did you mean runtime.gpt.slots?"),
        ("[runtime.gtp]\nslots = 1", "runtime.gtp is not a process; did you mean [runtime.gpt]?"),
        ("[runtim]\nslots = 1", "runtim is not a table; did you mean [runtime]?"),
        ("max_batch_size = 3", "max_batch_size belongs to [runtime]"),
        ("runtime = 3", "runtime must be a table: write [runtime]"),
        ("zzz = 3", "zzz is outside [model], [runtime], [server]"),
    ],
)
def test_names_that_the_file_should_not_have(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    shown = refusal(with_file(file, text), capsys)
    assert shown.startswith("test: 1 wrong setting\n")
    assert f"{file}:{said}" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[runtime]\nmax_batch_size 3", "line 2, column 16: Expected '='"),
        ("[runtime]\nmax_batch_size = \n", "line 2, column 18"),
        ("[runtime]\nmode = 'fast'\nmode = 'exact'\n", "line 3, column 15: Cannot overwrite"),
        ("[runtime", "end of the file: "),
    ],
)
def test_broken_toml_says_file_line_and_what(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert f"{file}: {said}" in refusal(with_file(file, text), capsys)


def test_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone.toml"
    assert f"--config {gone}: cannot be read: No such file" in refusal(["--config", str(gone)], capsys)
    gone.write_bytes(b"[model]\nmodel_dir = '\xff'")
    assert f"{gone}: byte 21 is not UTF-8" in refusal(["--config", str(gone)], capsys)


# The wrong type, wherever it stands.


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_batch_size", "three", "valid integer"),
        ("max_batch_size", "1000", "less than or equal to 256"),
        ("is_warm", "lukewarm", "valid boolean"),
        ("mode", "slow", "'fast' or 'exact'"),
        ("drain_seconds", "soon", "valid number"),
        ("drain_seconds", "nan", "finite number"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("peers", "localhost", "must be host:port"),
    ],
)
def test_wrong_value_names_its_flag_or_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, allowed: str
) -> None:
    variable = f"TTS_TEST_{name.upper()}"
    for origin in (variable, f"TTS_{name.upper()}"):
        monkeypatch.setenv(origin, value)
        shown = refusal([], capsys)
        monkeypatch.delenv(origin)
        assert f"{origin} is " in shown
        assert allowed in shown
    if name != "is_warm":  # a switch takes no value
        flag = f"--{name.replace('_', '-')}"
        shown = refusal([flag, value], capsys)
        assert f"{flag} is " in shown
        assert value in shown
        assert allowed in shown


@pytest.mark.parametrize(
    ("text", "place", "allowed"),
    [
        ("[runtime]\nmax_batch_size = 'three'", "runtime.max_batch_size is 'three'", "valid integer"),
        ("[runtime]\nmax_batch_size = '3'", "runtime.max_batch_size is '3'", "valid integer"),
        ("[runtime]\nmax_batch_size = true", "runtime.max_batch_size is True", "valid integer"),
        ("[runtime]\nmax_batch_size = 0", "runtime.max_batch_size is 0", "greater than or equal to 1"),
        ("[runtime]\nis_warm = 1", "runtime.is_warm is 1", "valid boolean"),
        ("[runtime]\nmode = 3", "runtime.mode is 3", "'fast' or 'exact'"),
        ("[runtime]\ncache_dir = 3", "runtime.cache_dir is 3", "valid string"),
        ("[runtime.test]\ncache_dir = []", "runtime.test.cache_dir is []", "valid string"),
        ("[model]\nmore_dirs = 3", "model.more_dirs is 3", "valid array"),
        ("[model]\nmore_dirs = 'a,b'", "model.more_dirs is 'a,b'", "valid array"),
        ("[server]\nlog_level = 2020-01-01", "server.log_level is datetime.date(2020, 1, 1)", "'debug', 'info'"),
        ("[server]\ndrain_seconds = inf", "server.drain_seconds is inf", "less than or equal to 3600"),
    ],
)
def test_wrong_value_in_the_file_names_file_table_and_key(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, place: str, allowed: str
) -> None:
    shown = refusal(with_file(file, text), capsys)
    assert shown.startswith("test: 1 wrong setting\n")
    assert f"{file}:{place}: " in shown
    assert allowed in shown


def test_a_list_with_two_wrong_values_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = refusal(["--peers", "foo,bar"], capsys)
    assert shown.startswith("test: 1 wrong setting\n")
    assert shown.count("--peers") == 1


# Secrets.


@pytest.mark.parametrize("variable", ["TTS_SECRET_WORD", "TTS_TEST_SECRET_WORD", "tts_test_secret_word"])
def test_secret_leaves_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    monkeypatch.setenv(variable, "sesame")

    settings = load_settings(WorkerSettings, [])

    assert settings.secret_word.get_secret_value() == "sesame"
    assert "sesame" not in os.environ.values()
    assert "sesame" not in repr(settings)


def test_reading_alone_leaves_the_environment_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_SECRET_WORD", "sesame")
    assert read_settings(WorkerSettings, []).settings.secret_word.get_secret_value() == "sesame"
    assert os.environ["TTS_SECRET_WORD"] == "sesame"


def test_wrong_secret_is_refused_unshown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = refusal(with_file(file, "[server]\nsecret_word = 12345"), capsys)
    assert f"{file}:server.secret_word: Input should be a valid string" in shown
    assert "12345" not in shown


# --print-config.


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        load_settings(WorkerSettings, [*argv, "--print-config"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_print_config_names_the_source_of_each_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTS_TEST_MODE", "exact")
    monkeypatch.setenv("TTS_LOG_LEVEL", "error")
    monkeypatch.setenv("TTS_SECRET_WORD", "sesame")
    shown = printed(with_file(file, "[model.test]\nmodel_dir = 'x'", "--max-batch-size", "2"), capsys)
    lines = shown.splitlines()
    assert "max_batch_size = 2  # --max-batch-size" in lines
    assert 'mode = "exact"  # TTS_TEST_MODE' in lines
    assert 'log_level = "error"  # TTS_LOG_LEVEL' in lines
    assert f'model_dir = "x"  # {file}:model.test.model_dir' in lines
    assert "is_warm = true  # default" in lines
    assert "# cache_dir is not set  # default" in lines
    assert '# secret_word = "**********"  # TTS_SECRET_WORD' in lines
    assert "sesame" not in shown


def test_printed_config_is_a_file_that_means_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--more-dirs", 'a,b "c"', "--no-is-warm", "--drain-seconds", "1.5", "--peers", "a:1,[::]:2"]
    again = printed(with_file(file, printed(argv, capsys)), capsys)
    assert tomllib.loads(again) == tomllib.loads(file.read_text("utf-8"))
    assert load_settings(WorkerSettings, ["--config", str(file)]) == load_settings(WorkerSettings, argv)


def test_wrong_settings_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 wrong" in refusal(["--print-config", "--mode", "slow"], capsys)


@given(
    st.recursive(
        st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_every_value_survives_being_written_as_toml(value: object) -> None:
    assert tomllib.loads(f"x = {to_toml(value)}")["x"] == value
