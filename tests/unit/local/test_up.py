"""What `make up` makes of its arguments, a file and the environment; nothing is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.local import GATEWAY, LocalSystem, __main__, background
from bench.local.__main__ import _parser, _up, planned
from bench.local.asked import asked_for, differing
from services.common.settings import SettingsError

MINI = "models/mini"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TTS_")]:
        monkeypatch.delenv(name)


def plan(*arguments: str) -> LocalSystem:
    system = planned(_parser().parse_args(["up", *arguments]))
    system.prepare()
    return system


def checkpoint(directory: Path) -> Path:
    directory.mkdir()
    (directory / "config.yaml").touch()
    return directory


def test_by_default_the_mini_model_is_at_the_known_ports() -> None:
    system = plan()
    assert [directory.name for directory in system.model_dirs] == ["mini"]
    ports = {name: int(address.rpartition(":")[2]) for name, address in system.addresses.items()}
    assert ports == {"gpt_worker": 50061, "s2mel_worker": 50062, "vocoder_worker": 50063, GATEWAY: 50051}
    metrics = {name: process.metrics[-4:] for name, process in system.processes.items()}
    assert metrics == {"gpt_worker": "9461", "s2mel_worker": "9462", "vocoder_worker": "9463", GATEWAY: "9460"}
    assert "CUDA_VISIBLE_DEVICES" not in system.processes["gpt_worker"].environment


def test_metrics_move_together_or_are_off() -> None:
    system = plan("--metrics", "9000")
    metrics = {name: process.metrics[-4:] for name, process in system.processes.items()}
    assert metrics == {GATEWAY: "9000", "gpt_worker": "9001", "s2mel_worker": "9002", "vocoder_worker": "9003"}
    assert {process.metrics for process in plan("--metrics", "0").processes.values()} == {""}


def test_several_models_have_spaces_between(tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other")
    system = plan("--model", f"{MINI} {other}")
    assert [directory.name for directory in system.model_dirs] == ["mini", "other"]
    assert system.addresses["gpt_worker"] == "127.0.0.1:50061"
    assert system.addresses["gpt_worker@2"] != "127.0.0.1:50061"
    assert len(system.processes) == 7


def test_a_directory_may_have_a_space_in_its_name(tmp_path: Path) -> None:
    assert plan("--model", str(checkpoint(tmp_path / "my model"))).model_dirs == [tmp_path / "my model"]


@pytest.mark.parametrize("model", ["no/such/dir", f"{MINI} no/such/dir"])
def test_what_is_no_checkpoint_is_named(model: str) -> None:
    with pytest.raises(ValueError, match="no/such/dir is no checkpoint directory"):
        plan("--model", model)


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="given twice"):
        plan("--model", f"{MINI} ./{MINI}")


def test_gpus_reach_the_workers() -> None:
    system = plan("--gpus", "0, 2")
    seen = [system.processes[f"{stage}_worker"].environment for stage in ("gpt", "s2mel", "vocoder")]
    assert [variables["CUDA_VISIBLE_DEVICES"] for variables in seen] == ["0", "2", "0"]


@pytest.mark.parametrize("gpus", ["x", "0,", ",", "-1", "0;1", "0 1", "cuda:0", "1.5", "all"])
def test_nonsense_for_gpus_is_refused(gpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        plan(f"--gpus={gpus}")
    assert ended.value.code == 2
    assert "such as 0,1,2" in capsys.readouterr().err


def test_identifiers_of_gpus_and_their_parts_are_taken() -> None:
    gpu = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
    assert plan("--gpus", gpu).processes["gpt_worker"].environment["CUDA_VISIBLE_DEVICES"] == gpu


@pytest.fixture
def onnx_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "_has_onnx_cuda", lambda: True)


def devices(system: LocalSystem) -> list[str | None]:
    stages = ("gpt", "s2mel", "vocoder")
    return [system.processes[f"{stage}_worker"].environment.get(f"TTS_{stage.upper()}_DEVICE") for stage in stages]


@pytest.mark.usefixtures("onnx_cuda")
def test_workers_with_gpus_may_not_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices(plan("--gpus", "0,1,2")) == ["cuda", "cuda", "cuda"]
    assert devices(plan()) == [None, None, None]
    monkeypatch.setenv("TTS_S2MEL_DEVICE", "cpu")
    assert devices(plan("--gpus", "0,1")) == ["cuda", None, "cuda"]


def test_the_vocoder_stays_on_the_cpu_where_its_runtime_knows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "_has_onnx_cuda", lambda: False)
    assert devices(plan("--gpus", "0,1,2")) == ["cuda", "cuda", None]


class Serving(background.Running):
    """A process that serves, without one."""

    @property
    def state(self) -> str:
        return "serving"


def up(*arguments: str) -> int:
    return _up(_parser().parse_args(["up", *arguments]))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that `make up` without arguments has started."""
    asked = asked_for(_parser().parse_args(["up"]))
    entry = Serving(GATEWAY, 0, 0.0, "127.0.0.1:1", "log", background.joined([Path(MINI)]), (), asked=asked)
    monkeypatch.setattr(background, "recorded", lambda: [entry])
    monkeypatch.setattr(Serving, "find", lambda _: None)
    monkeypatch.setattr(background, "stop", lambda: pytest.fail("what runs was stopped"))


@pytest.mark.usefixtures("running")
def test_what_runs_already_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert up() == up("--timeout", "5") == up("--model", MINI) == 0
    assert capsys.readouterr().out.count("frontend  serving") == 3


@pytest.mark.usefixtures("running", "onnx_cuda")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--gpus", "0,1"], "GPUS"),
        (["--threads", "2"], "THREADS"),
        (["--gateway", "127.0.0.1:6000"], "addresses"),
        (["--metrics", "0", "--vocoder", "127.0.0.1:6001"], "addresses, METRICS"),
    ],
)
def test_what_runs_already_with_other_settings_is_no_success(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up(*arguments) == 1
    assert f"already up with other settings ({named}); `make down` first" in capsys.readouterr().err


@pytest.mark.usefixtures("running")
def test_another_variable_is_another_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTS_API_TOKEN", "sesame")
    assert up() == 1
    assert "other settings (TTS_* variables)" in capsys.readouterr().err


def test_a_changed_file_is_another_setting_and_no_value_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTS_API_TOKEN", "sesame")
    file = tmp_path / "settings.toml"
    arguments = _parser().parse_args(["up", "--config", str(file)])
    file.write_text("[runtime]\nslots = 2\n")
    before = asked_for(arguments)
    file.write_text("[runtime]\nslots = 3\n")
    assert differing(before, asked_for(arguments)) == ["CONFIG"]
    assert "sesame" not in str(before)


def test_a_file_decides_what_no_argument_does(tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other")
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[model]\nmore_models = ["{other}"]\n[server.frontend]\naddress = "127.0.0.1:6000"\nmetrics_port = 6001\n'
    )
    system = plan("--config", str(file))
    assert [directory.name for directory in system.model_dirs] == ["mini", "other"]
    assert system.address == "127.0.0.1:6000"
    assert system.processes[GATEWAY].metrics == "127.0.0.1:6001"
    assert system.processes["gpt_worker@2"].command[-2:] == ["--config", str(file)]
    assert len(plan("--config", str(file), "--model", MINI).processes) == 4
    assert plan("--config", str(file), "--gateway", "127.0.0.1:6002").address == "127.0.0.1:6002"


def test_a_wrong_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[runtime]\nslots = 'many'\n")
    with pytest.raises(SettingsError, match=r"settings.toml:runtime.slots is 'many'"):
        plan("--config", str(file))


def test_one_address_or_port_for_two_processes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[server]\nmetrics_port = 6001\n")
    with pytest.raises(ValueError, match="frontend and gpt_worker have the same metrics_port 6001"):
        plan("--config", str(file))
    with pytest.raises(ValueError, match="the same address 127.0.0.1:50061"):
        plan("--gateway", "127.0.0.1:50061")


def test_the_token_stays_in_the_environment_for_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTS_API_TOKEN", "sesame")
    system = plan()
    assert os.environ["TTS_API_TOKEN"] == "sesame"
    assert "sesame" not in str([process.environment for process in system.processes.values()])
