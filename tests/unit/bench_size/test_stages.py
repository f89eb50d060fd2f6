"""The commands that measure the stages alone, run on networks of a few channels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.stages import __main__ as cpu_command
from bench.stages import gpt, gpu, s2mel
from bench.stages.cpu_clock import Spent, interleave
from bench.stages.measures import COMPAT, OURS, Row
from bench.stages.system import missing_packages
from bench.stages.workload import TOY, Workload

LOAD = Workload(codes=30, text_ids=10, prompt_frames=20, steps=3)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The commands set it for their process, and networks this small are slower on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_gpt_decodes_as_many_codes_as_asked_on_both_ways() -> None:
    stage = gpt.make_stage(TOY)
    engine = gpt.make_engine(stage, TOY, mode="float32")
    spent = interleave({"plain": gpt.plain(stage, TOY, LOAD, 30), "served": gpt.served(engine, TOY, LOAD, 30)})
    assert spent["plain"].shares == pytest.approx({"prefill": 1, "decode": 1, "second pass": 1})
    assert spent["served"].shares == pytest.approx({"prefill": 1, "decode": 1})


def test_fewer_codes_are_known_as_a_part() -> None:
    stage = gpt.make_stage(TOY)
    engine = gpt.make_engine(stage, TOY, mode="float32")
    spent = interleave({"plain": gpt.plain(stage, TOY, LOAD, 8), "served": gpt.served(engine, TOY, LOAD, 8)})
    for each in spent.values():
        assert each.shares["decode"] == pytest.approx(7 / 29)


def test_another_mode_leaves_the_stage_as_it_is() -> None:
    stage = gpt.make_stage(TOY)
    before = {name: value.clone() for name, value in stage.voice.gpt.state_dict().items()}
    assert gpt.in_mode(stage, "bfloat16").voice.gpt.state_dict().keys() != before.keys()
    after = stage.voice.gpt.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_flow_is_run_for_all_frames_and_steps_on_both_ways() -> None:
    stage = s2mel.make_stage(TOY)
    engine = s2mel.make_engine(stage, TOY, mode="float32")
    policy = engine.spec.default_policy
    spent = interleave(
        {
            "plain": s2mel.plain(stage, TOY, LOAD, 3),
            "served": s2mel.served(engine, TOY, LOAD, 3),
            "windows": s2mel.served(engine, TOY, LOAD, 1, policy),
        }
    )
    assert spent["plain"].shares == pytest.approx({"condition": 1, "flow": 1})
    assert spent["served"].shares == pytest.approx({"flow": 1})
    assert spent["windows"].shares == pytest.approx({"flow": 1 / 3})


def test_made_up_networks_compute_finite_numbers_that_are_not_silent() -> None:
    voice, chunk = s2mel.voice_of(TOY, LOAD), s2mel.code_chunk(TOY, LOAD)
    assert all(np.isfinite(value).all() for value in voice.values())
    assert chunk.length == LOAD.codes
    assert all(value.std() > 1e-3 for value in chunk.tensors.values())


def test_the_cpu_command_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fullsize.json"
    options = ["--toy", "--quick", "--codes", "12", "--steps", "2", "--skip-agreement", "--busy"]
    assert cpu_command.main([*options, "--report", str(path)]) == 0
    made = read(path)
    assert made["name"] == "bench-fullsize"
    figures = made["figures"]
    assert figures["ratio"]["value"] == pytest.approx(
        figures["cpu_s_ours"]["value"] / figures["cpu_s_compat"]["value"], abs=0.2
    )
    roles = [figure.get("role") for figure in figures.values()]
    assert roles.count(COMPAT) == roles.count(OURS) == 3
    assert "CPU-s published" in capsys.readouterr().out


def test_the_ratio_is_that_of_the_sums() -> None:
    def row(role: str, seconds: float) -> Row:
        return Row("gpt", role or "shown", Spent({"decode": seconds}, {"decode": 1.0}), 10.0, role)

    rows = [row(COMPAT, 10.0), row(OURS, 4.0), row("", 7.0)]
    figures = cpu_command.figures(rows, None)
    assert figures["ratio"]["value"] == pytest.approx(0.4)
    assert figures["ratio"]["met"] is True
    assert figures["gpt: shown"]["saved_s"] == pytest.approx(3.0)


def test_the_gpu_command_runs_through_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--toy", "--dtype", "fp32", "--codes", "30", "--prompt-frames", "20"]
    assert gpu.main([*options, "--streams", "1,2", "--steps", "2,1", "--no-system", "--report", str(path)]) == 0
    figures = read(path)["figures"]
    assert {"composed_first_audio_ms.1", "composed_first_audio_ms.2", "composed_rtf"} <= figures.keys()
    assert "gpt: decode step, 2 streams" in figures
    assert "torch yardstick" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_command_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_packages_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("numpy==2.0\nno-such-package==1.0\n")
    (tmp_path / "run.txt").write_text("# a remark\n-r base.txt\npytest==1.0\n")
    assert missing_packages(tmp_path / "run.txt") == ["no-such-package==1.0", "pytest==1.0"]


BLOCK_ALL_BUT_CARRIED = """
import importlib.abc, sys
import numpy, torch, torch.utils.flop_counter
carried = {"bench", "services", *sys.argv[1].split(), *(name.partition(".")[0] for name in sys.modules)}
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in carried | sys.stdlib_module_names and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import bench.stages.gpu
"""

MODULES_OF_WHEELS = {"pyyaml": "yaml _yaml", "python-dotenv": "dotenv"}


def test_the_gpu_command_needs_nothing_beside_torch_and_the_wheels_that_are_carried() -> None:
    lines = Path("requirements/bench-gpu.txt").read_text("utf-8").splitlines()
    names = [line.partition("==")[0].lower() for line in lines if "==" in line]
    modules = " ".join(MODULES_OF_WHEELS.get(name, name.replace("-", "_")) for name in names)
    command = [sys.executable, "-c", BLOCK_ALL_BUT_CARRIED, modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
