"""What the settings `device`, `dtype` and `gpu_memory_mb` mean on machines with and without GPUs."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.common import devices, memory
from services.common.checkpoint import CheckpointError
from services.common.devices import ComputeDevice
from services.common.memory import MemoryGauge, MemoryUse

CPU, FIRST, SECOND = ComputeDevice("cpu"), ComputeDevice("cuda"), ComputeDevice("cuda", 1)


@pytest.mark.parametrize(
    ("wanted", "num_gpus", "device"),
    [
        ("auto", 0, CPU),
        ("auto", 2, FIRST),
        ("cpu", 2, CPU),
        ("cuda", 2, FIRST),
        ("cuda:0", 1, FIRST),
        ("cuda:1", 2, SECOND),
    ],
)
def test_a_device_that_is_there_is_taken(wanted: str, num_gpus: int, device: ComputeDevice) -> None:
    assert devices.choose(wanted, num_gpus=num_gpus, runtime="torch") == device


def test_auto_says_in_the_log_that_it_takes_the_cpu() -> None:
    with capture_logs() as logs:
        devices.choose("auto", num_gpus=0, runtime="torch")
        devices.choose("auto", num_gpus=1, runtime="torch")
        devices.choose("cpu", num_gpus=1, runtime="torch")

    assert [(line["event"], line["reason"]) for line in logs] == [("device_is_cpu", "torch sees no GPU")]


@pytest.mark.parametrize(
    ("wanted", "num_gpus", "message"),
    [
        ("cuda", 0, "device cuda is set, but torch sees no GPU; set auto or cpu"),
        ("cuda:1", 0, "device cuda:1 is set, but torch sees no GPU"),
        ("cuda:1", 1, r"torch sees 1 GPU\(s\): cuda:0$"),
        ("cuda:7", 3, r"torch sees 3 GPU\(s\): cuda:0 to cuda:2"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(wanted: str, num_gpus: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        devices.choose(wanted, num_gpus=num_gpus, runtime="torch")


@given(wanted=st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:3"]), num_gpus=st.integers(0, 5))
def test_no_choice_is_beyond_the_gpus(wanted: str, num_gpus: int) -> None:
    assert devices.checked_device(wanted) == wanted
    try:
        device = devices.choose(wanted, num_gpus=num_gpus, runtime="torch")
    except CheckpointError:
        assert wanted.startswith("cuda")
        assert devices.device_index(wanted) >= num_gpus
    else:
        assert device == CPU or device.index < num_gpus
        assert str(device) in (wanted, "cpu", "cuda:0")


@pytest.mark.parametrize("wanted", ["mps", "mps:0"])
def test_mps_is_refused_with_the_reason(wanted: str) -> None:
    with pytest.raises(ValueError, match="mps is not supported: Apple GPUs lack float64"):
        devices.checked_device(wanted)


@pytest.mark.parametrize("wanted", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda:0 ", "cpu:0"])
def test_other_spellings_are_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="must be auto, cpu, cuda, or cuda:N"):
        devices.checked_device(wanted)


def test_auto_and_fp32_are_one_numeric_mode() -> None:
    modes = {dtype: devices.numeric_mode(dtype) for dtype in ("auto", "fp32", "fp16", "bf16")}

    assert modes == {"auto": "float32", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def test_a_memory_limit_counts_on_a_gpu_only() -> None:
    with capture_logs() as logs:
        assert devices.limit_bytes(512, FIRST, total_bytes=2**30) == 2**29
        assert devices.limit_bytes(0, FIRST, total_bytes=2**30) == 0
        assert logs == []
        assert devices.limit_bytes(512, CPU, total_bytes=2**30) == 0

    assert [line["event"] for line in logs] == ["gpu_memory_limit_ignored"]


def test_a_memory_limit_above_the_device_is_refused() -> None:
    with pytest.raises(CheckpointError, match="gpu_memory_mb is 1025, but cuda:0 has 1024"):
        devices.limit_bytes(1025, FIRST, total_bytes=2**30)


def test_a_cpu_reports_this_process_and_its_machine() -> None:
    use = memory.device_memory("cpu")

    assert 2**20 < use.used_bytes < use.total_bytes


@pytest.mark.parametrize(("text", "is_limit"), [("1048576\n", True), ("max\n", False), (f"{2**62}\n", False)])
def test_a_container_has_what_its_limit_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, text: str, is_limit: bool
) -> None:
    limit = tmp_path_factory.mktemp("cgroup") / "memory.max"
    limit.write_text(text)
    monkeypatch.setattr(memory, "_GROUP_LIMITS", (limit.with_name("missing"),))
    machine = memory.machine_bytes()
    monkeypatch.setattr(memory, "_GROUP_LIMITS", (limit.with_name("missing"), limit))

    assert memory.machine_bytes() == (1048576 if is_limit else machine)


def test_memory_is_read_once_while_it_holds() -> None:
    reads: list[MemoryUse] = []

    def read() -> MemoryUse:
        reads.append(MemoryUse(len(reads), 9))
        return reads[-1]

    lasting = MemoryGauge(read, seconds=1000)
    assert [lasting() for _ in range(3)] == [MemoryUse(0, 9)] * 3
    fresh = MemoryGauge(read, seconds=0)
    assert [fresh().used_bytes for _ in range(2)] == [1, 2]


@pytest.fixture
def machine_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML of a machine whose GPUs use 0, 1 and 2 bytes and are called GPU-0 to GPU-2."""

    def by_uuid(name: str) -> int:
        if name not in ("GPU-0", "GPU-1", "GPU-2"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return int(name[-1])

    def by_index(index: int) -> int:
        if index > 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    monkeypatch.setattr(memory, "_has_nvml", lambda: True)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", by_index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", by_uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=handle, total=10))


@pytest.mark.parametrize(
    ("visible", "handles"),
    [(None, [0, 1, 2]), ("2,0", [2, 0]), ("GPU-1", [1]), ("1,-1,0", [1]), ("", []), ("7", []), (" 1 , 2", [1, 2])],
)
@pytest.mark.usefixtures("machine_of_three")
def test_gpus_are_numbered_as_the_process_sees_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, handles: list[int]
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert memory.num_visible_gpus() == len(handles)
    assert [memory.device_memory("cuda", index).used_bytes for index in range(len(handles))] == handles
    assert memory.device_memory("cuda", 5) == MemoryUse()
