"""docs/configuration.md and the names that processes know of each other, made from the settings classes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import configuration
from services.common.settings import ServiceSettings, Table, read_settings
from services.common.settings.fields import process_of, tables_of

every_class = pytest.mark.parametrize("cls", configuration.CLASSES, ids=process_of)


@pytest.mark.parametrize(
    ("path", "text"),
    [(configuration.PAGE, configuration.page()), (configuration.KNOWN, configuration.known())],
    ids=["page", "names"],
)
def test_what_is_made_is_up_to_date(path: Path, text: str) -> None:
    assert configuration.is_current(path, text), f"{path} is out of date: run `make configuration`"


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert not configuration.is_current(page, "new")
    page.write_text("old")
    assert not configuration.is_current(page, "new")
    page.write_text("new")
    assert configuration.is_current(page, "new")


@every_class
def test_every_setting_says_its_table_and_what_it_does(cls: type[ServiceSettings]) -> None:
    for name, field in cls.model_fields.items():
        assert any(isinstance(mark, Table) for mark in field.metadata), f"{name} names no table"
        assert field.description, f"{name} has no docstring"


@every_class
def test_every_setting_has_a_row(cls: type[ServiceSettings]) -> None:
    section = configuration.page().split(f"\n## {process_of(cls)}\n")[1].split("\n## ")[0]
    for name in cls.model_fields:
        assert (
            f"\n| {name} | `--{name.replace('_', '-')}` | `{cls.model_config['env_prefix']}{name.upper()}` " in section
        )


def test_a_setting_stands_in_the_same_table_for_every_process() -> None:
    tables: dict[str, Table] = {}
    for cls in configuration.CLASSES:
        for name, table in tables_of(cls).items():
            assert tables.setdefault(name, table) is table


def test_no_setting_is_called_like_a_process() -> None:
    processes = {process_of(cls) for cls in configuration.CLASSES}
    assert processes == {"frontend", "gpt", "s2mel", "vocoder"}
    assert not processes & {name for cls in configuration.CLASSES for name in cls.model_fields}


def test_what_operators_must_be_able_to_set_is_there() -> None:
    frontend, *workers = (set(cls.model_fields) for cls in configuration.CLASSES)
    both = {"address", "metrics_port", "model_dir", "log_level", "drain_seconds"}
    assert (
        both
        | {
            *("workers", "more_models", "voices_dir", "voice_store", "default_voice", "api_token"),
            *("max_unary_characters", "max_stream_characters", "max_queue", "max_streams", "max_inline_voice_bytes"),
            *("priority_interactive", "priority_batch", "stream_idle_seconds", "text_idle_seconds"),
            *("client_stall_seconds", "upload_idle_seconds", "heartbeat_silence_seconds"),
        }
        <= frontend
    )
    for worker in workers:
        assert both | {"slots", "max_batch_size", "batch_window_ms", "device", "dtype", "gpu_memory_mb"} <= worker


@every_class
def test_the_example_of_the_page_is_right(
    cls: type[ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("TTS_")]:
        monkeypatch.delenv(name)
    example = tmp_path / "settings.toml"
    example.write_text(configuration.page().split("```toml\n")[1].split("```")[0])
    given = read_settings(cls, ["--config", str(example)]).given
    assert given["log_level"].value == "warning"
    assert cls is configuration.CLASSES[0] or given["slots"].value == (8 if process_of(cls) == "gpt" else 4)


def test_the_token_is_never_a_default_in_the_page() -> None:
    (row,) = [line for line in configuration.page().splitlines() if line.startswith("| api_token ")]
    assert "| secret text | none |" in row
