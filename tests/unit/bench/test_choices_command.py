"""The report of the choices says in which numbers they were compared, and nothing of what it did not measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.choices import __main__ as command


def test_the_report_states_the_numbers_and_no_share_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(command, "load_stages", lambda _model, dtype: loaded.append(dtype))
    for part in ("_speeches", "_solvers", "_guidance", "_contexts"):
        monkeypatch.setattr(command, part, lambda *_: [])

    assert command.main(["--report", str(tmp_path / "report.json")]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (loaded, written["dtype"]) == (["fp32"], "float32")
    assert "cores" in written["machine"]
    assert "of the CPU" not in written["machine"]
    assert "Computed in float32." in capsys.readouterr().out
