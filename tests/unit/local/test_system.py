"""Starting, hurting and stopping processes, with small stand-ins for the services."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.local import GATEWAY, LocalSystem, StartError, background, free_addresses
from bench.local.process import device_kind, health_status
from services.common.settings import read_settings
from services.frontend.settings import FrontendSettings

_FAKE = str(Path(__file__).with_name("fake_service.py"))


def _with_fakes(system: LocalSystem, **modes: str) -> LocalSystem:
    system.prepare()
    for name, process in system.processes.items():
        process.command = [sys.executable, _FAKE, process.address, modes.get(name, "")]
    return system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    folder = tmp_path_factory.mktemp("system")
    with _with_fakes(LocalSystem(folder, log_dir=folder, replicas={"gpt_worker": 2})) as system:
        yield system


def test_addresses_are_all_different() -> None:
    assert len(set(free_addresses(50))) == 50


def test_the_gateway_knows_every_worker(system: LocalSystem) -> None:
    assert list(system.processes) == ["gpt_worker", "gpt_worker-2", "s2mel_worker", "vocoder_worker", GATEWAY]
    gateway = system.processes[GATEWAY].environment
    others = [address for name, address in system.addresses.items() if name != GATEWAY]
    assert gateway["TTS_FRONTEND_WORKERS"].split(",") == others
    assert gateway["TTS_FRONTEND_ADDRESS"] == system.address
    assert len({process.metrics for process in system.processes.values()}) == 5


def test_metrics_are_where_they_are_wanted_or_off(tmp_path: Path) -> None:
    system = LocalSystem(tmp_path, log_dir=tmp_path, metrics_ports={GATEWAY: 9460, "gpt_worker": 0})
    system.prepare()
    processes = system.processes
    assert processes[GATEWAY].environment["TTS_FRONTEND_METRICS_PORT"] == "9460"
    assert processes[GATEWAY].metrics == "127.0.0.1:9460"
    assert processes["gpt_worker"].environment["TTS_GPT_METRICS_PORT"] == "0"
    assert processes["gpt_worker"].metrics == ""
    assert processes["s2mel_worker"].metrics.startswith("127.0.0.1:")


def test_settings_reach_the_processes_they_are_for(tmp_path: Path) -> None:
    system = LocalSystem(
        tmp_path,
        log_dir=tmp_path,
        replicas={"gpt_worker": 2},
        environment={"gpt_worker": {"TTS_GPT_SLOTS": "2"}, "gpt_worker-2": {"TTS_GPT_SLOTS": "3"}},
        threads=2,
    )
    system.prepare()
    variables = {name: process.environment for name, process in system.processes.items()}
    assert variables["gpt_worker"]["TTS_GPT_SLOTS"] == "2"
    assert variables["gpt_worker-2"]["TTS_GPT_SLOTS"] == "3"
    assert variables["s2mel_worker"]["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in variables[GATEWAY]
    assert variables["vocoder_worker"]["TTS_VOCODER_MODEL_DIR"] == str(tmp_path)


def test_each_model_has_workers_of_its_own_and_one_gateway_has_all(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    system = LocalSystem(model_dirs=[first, second], log_dir=tmp_path, replicas={"gpt_worker": 2})
    system.prepare()
    assert list(system.processes) == [
        *("gpt_worker", "gpt_worker-2", "s2mel_worker", "vocoder_worker"),
        *("gpt_worker@2", "gpt_worker-2@2", "s2mel_worker@2", "vocoder_worker@2"),
        GATEWAY,
    ]
    variables = {name: process.environment for name, process in system.processes.items()}
    assert variables["gpt_worker-2"]["TTS_GPT_MODEL_DIR"] == str(first)
    assert variables["gpt_worker-2@2"]["TTS_GPT_MODEL_DIR"] == str(second)
    assert variables["vocoder_worker@2"]["TTS_VOCODER_MODEL_DIR"] == str(second)
    assert variables[GATEWAY]["TTS_FRONTEND_MODEL_DIR"] == str(first)
    assert variables[GATEWAY]["TTS_FRONTEND_MORE_MODELS"] == str(second)
    workers = [address for name, address in system.addresses.items() if name != GATEWAY]
    assert variables[GATEWAY]["TTS_FRONTEND_WORKERS"].split(",") == workers
    assert len({*system.addresses.values(), *(process.metrics for process in system.processes.values())}) == 18
    assert len({process.log for process in system.processes.values()}) == 9


def test_settings_of_a_stage_reach_its_workers_of_every_model(tmp_path: Path) -> None:
    environment = {"gpt_worker": {"TTS_GPT_SLOTS": "2"}, "gpt_worker@2": {"TTS_GPT_SLOTS": "3"}}
    system = LocalSystem(model_dirs=[tmp_path, tmp_path], log_dir=tmp_path, environment=environment)
    system.prepare()
    assert system.processes["gpt_worker"].environment["TTS_GPT_SLOTS"] == "2"
    assert system.processes["gpt_worker@2"].environment["TTS_GPT_SLOTS"] == "3"
    assert "TTS_GPT_SLOTS" not in system.processes["s2mel_worker@2"].environment


@pytest.mark.parametrize(
    ("gpus", "seen"),
    [
        (["0", "1", "2"], ["0", "1", "2", "0", "1", "2"]),
        (["0", "1"], ["0", "1", "0", "1", "0", "1"]),
        (["3"], ["3"] * 6),
        (["0", "1", "2", "3", "4", "5", "6"], ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_gpus_are_dealt_to_the_workers_in_turn(tmp_path: Path, gpus: list[str], seen: list[str]) -> None:
    system = LocalSystem(model_dirs=[tmp_path, tmp_path], log_dir=tmp_path, gpus=gpus)
    system.prepare()
    workers = [process for name, process in system.processes.items() if name != GATEWAY]
    assert [worker.environment["CUDA_VISIBLE_DEVICES"] for worker in workers] == seen
    assert "CUDA_VISIBLE_DEVICES" not in system.processes[GATEWAY].environment


def test_without_gpus_the_choice_is_left_alone(tmp_path: Path) -> None:
    system = LocalSystem(tmp_path, log_dir=tmp_path)
    system.prepare()
    assert not any("CUDA_VISIBLE_DEVICES" in process.environment for process in system.processes.values())


def test_a_file_reaches_all_processes_and_what_is_decided_here_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[model]\nmore_models = ["elsewhere"]\n[server]\nlog_level = "error"\n[runtime]\nmax_queue = 3\n')
    system = LocalSystem(tmp_path, log_dir=tmp_path, config=file, log_level=None)
    system.prepare()
    for process in system.processes.values():
        assert process.command[-2:] == ["--config", str(file)]
    gateway = system.processes[GATEWAY]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gateway.environment.items():
            patch.setenv(name, value)
        settings = read_settings(FrontendSettings, gateway.command[3:]).settings
    assert (settings.max_queue, settings.log_level, settings.address) == (3, "error", gateway.address)
    assert settings.model_dirs == [tmp_path]


def test_a_killed_process_can_be_started_again(system: LocalSystem) -> None:
    worker = system.processes["s2mel_worker"]
    before = worker.pid
    assert health_status(worker.address, "") == "SERVING"
    system.kill("s2mel_worker")
    assert not worker.is_running
    assert health_status(worker.address, "") == "NO_ANSWER"
    system.restart("s2mel_worker")
    assert worker.is_running
    assert worker.pid != before


def test_what_runs_is_found_again(system: LocalSystem, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    background.record(system, run_dir=tmp_path, asked={"GPUS": "digest"})
    entries = background.recorded(tmp_path)
    assert [entry.asked for entry in entries] == [{"GPUS": "digest"}] * 5
    assert [entry.name for entry in entries][-1] == GATEWAY
    assert {entry.state for entry in entries} == {"serving"}
    table = background.table(entries)
    assert table.count(" serving ") == 5
    assert "METRICS" in table.splitlines()[0]
    assert system.processes[GATEWAY].metrics in table.splitlines()[-1]
    assert (tmp_path / f"{GATEWAY}.pid").read_text() == f"{system.processes[GATEWAY].pid}\n"


def test_the_table_shows_where_a_worker_computes(system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {system.addresses["gpt_worker"]: "cuda", system.addresses["vocoder_worker"]: "cpu"}
    monkeypatch.setattr(background, "device_kind", lambda address: kinds.get(address, ""))
    asked = [background._running(process, system, {}) for process in system.processes.values()]
    entries = [replace(entry, gpu="2" if entry.name == "gpt_worker" else "") for entry in asked]
    header, *lines = background.table(entries).splitlines()
    column = header.index("DEVICE")
    assert [line[column:].split("  ")[0] for line in lines] == ["cuda 2", "-", "-", "cpu", "-"]


def test_a_stage_that_does_not_answer_has_no_device(system: LocalSystem) -> None:
    assert device_kind(system.addresses["gpt_worker"]) == ""


def test_stopping_drains_and_forgets(tmp_path: Path) -> None:
    system = _with_fakes(LocalSystem(tmp_path, log_dir=tmp_path / "log"))
    system.start()
    background.record(system, run_dir=tmp_path)
    assert background.stop(tmp_path)[0] == GATEWAY
    assert background.recorded(tmp_path) == []
    assert system.stop() == dict.fromkeys(system.processes, 0)


def test_a_process_that_dies_is_explained_and_the_rest_stopped(tmp_path: Path) -> None:
    system = _with_fakes(LocalSystem(tmp_path, log_dir=tmp_path), vocoder_worker="die")
    with pytest.raises(StartError, match=r"vocoder_worker ended with code 1(.|\n)*no weights anywhere"):
        system.start()
    assert not any(process.is_running for process in system.processes.values())


def test_a_process_that_never_serves_is_explained(tmp_path: Path) -> None:
    system = _with_fakes(LocalSystem(tmp_path, log_dir=tmp_path), gpt_worker="deaf")
    with pytest.raises(StartError, match=r"gpt_worker does not serve after 3 s(.|\n)*here is the log"):
        system.start(timeout_seconds=3)
