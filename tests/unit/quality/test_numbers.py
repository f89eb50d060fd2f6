"""Speech is judged in the numbers that a local system here would serve it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.local import sharing
from bench.quality.__main__ import _parser
from bench.quality.numbers import served_dtype
from bench.quality.stages import load_stages
from services.common.stage.settings import StageSettings


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sharing, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(sharing, "_GPU_DRIVER", tmp_path / "none")


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize(
    ("environment", "dtype"),
    [({}, "mixed"), ({"TTS_DTYPE": "fp32"}, "fp32"), ({"TTS_DTYPE": "fp32", "TTS_S2MEL_DTYPE": "bf16"}, "bf16")],
    ids=["nothing set", "all workers", "one worker"],
)
def test_the_numbers_are_those_of_a_local_system(environment: dict[str, str], dtype: str) -> None:
    assert served_dtype(environment) == dtype


def test_a_cpu_without_short_numbers_is_judged_in_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "has_fast_bfloat16", lambda: False)
    assert served_dtype({}) == "auto"


@pytest.mark.usefixtures("has_bfloat16")
def test_the_command_takes_them_unless_it_is_told_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TTS_DTYPE", raising=False)
    monkeypatch.delenv("TTS_S2MEL_DTYPE", raising=False)
    assert _parser().parse_args([]).dtype == "mixed"
    assert _parser().parse_args(["--dtype", "fp32"]).dtype == "fp32"


def test_all_stages_are_loaded_in_them_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_DTYPE", "fp32")
    told: list[str] = []

    def load(settings: StageSettings) -> None:
        told.append(settings.dtype)

    for module in ("gpt_worker.loading", "s2mel_worker.engine", "vocoder_worker.engine"):
        monkeypatch.setattr(f"services.{module}.load_engine", load)
    load_stages(Path("models/mini"), "mixed")
    assert told == ["mixed"] * 3
