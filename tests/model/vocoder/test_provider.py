"""Where the vocoder computes: what a GPU gets, and that one which is missing is an error."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest

from services.common import memory
from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.memory import MemoryUse
from services.vocoder_worker.model.provider import CPU, CUDA, GPU_BATCH, TENSORRT, Wanted, choose
from services.vocoder_worker.model.session import load_vocoder

without_gpu = pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="there is a GPU runtime")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that offers everything, on a machine with two GPUs of 2 GiB."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(memory, "num_visible_gpus", lambda: 2)
    monkeypatch.setattr(memory, "device_memory", lambda kind, index: MemoryUse(0, 2**31))


@without_gpu
def test_a_missing_device_is_refused(files: CheckpointFiles) -> None:
    with pytest.raises(
        CheckpointError, match="device cuda is set, but ONNX Runtime without CUDAExecutionProvider sees no GPU"
    ):
        load_vocoder(files, Wanted(device="cuda"))
    assert load_vocoder(files, Wanted(device="auto")).device.kind == "cpu"


@without_gpu
def test_a_missing_provider_is_refused(files: CheckpointFiles) -> None:
    for device, message in (("cuda", "without TensorrtExecutionProvider sees no GPU"), ("auto", "gpu_provider")):
        with pytest.raises(CheckpointError, match=message):
            load_vocoder(files, Wanted(device=device, gpu_provider="tensorrt"))


@without_gpu
@pytest.mark.parametrize("gpu_provider", ["cuda", "tensorrt"])
@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_never_silently_replaced_by_the_cpu(files: CheckpointFiles, gpu_provider: object) -> None:
    """A runtime that offers CUDA and cannot use it falls back by itself; that is an error here."""
    for device in ("cuda", "cuda:0", "auto"):
        with pytest.raises(CheckpointError, match="ExecutionProvider|cannot run it on cuda:0"):
            load_vocoder(files, Wanted(device=device, gpu_provider=gpu_provider))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"sees 2 GPU\(s\): cuda:0 to cuda:1"):
        load_vocoder(files, Wanted(device="cuda:2"))


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_gets_its_number_and_its_memory_limit() -> None:
    plain = choose(Wanted(device="cuda:1"), num_bins=80)
    limited = choose(Wanted(device="cuda:1", gpu_memory_mb=1024), num_bins=80)

    assert (plain.name, plain.settings["device_id"], plain.limit_bytes) == (CUDA, "1", 0)
    assert "gpu_mem_limit" not in plain.settings
    assert limited.settings["gpu_mem_limit"] == str(2**30)
    assert limited.settings["arena_extend_strategy"] == "kSameAsRequested"
    assert (limited.limit_bytes, limited.batch_limit) == (2**30, GPU_BATCH)
    with pytest.raises(CheckpointError, match="gpu_memory_mb is 4096, but cuda:1 has 2048"):
        choose(Wanted(device="cuda:1", gpu_memory_mb=4096), num_bins=80)


@pytest.mark.usefixtures("two_gpus")
def test_short_products_are_for_those_who_asked_for_half_precision() -> None:
    chosen = {mode: choose(Wanted(device="cuda", mode=mode), num_bins=80) for mode in ("float32", "bfloat16")}

    assert [provider.settings["use_tf32"] for provider in chosen.values()] == ["0", "1"]
    assert {provider.dtype for provider in chosen.values()} == {"float32"}


@pytest.mark.usefixtures("two_gpus")
def test_tensorrt_builds_for_all_lengths_once_and_leaves_the_rest_to_cuda(tmp_path: Path) -> None:
    wanted = Wanted(device="cuda:1", gpu_provider="tensorrt", mode="float16", tensorrt_cache_dir=tmp_path)
    chosen = choose(wanted, num_bins=80)

    assert chosen.names == [(TENSORRT, chosen.settings), (CUDA, {"device_id": "1"})]
    assert chosen.settings["trt_engine_cache_path"] == str(tmp_path)
    assert chosen.settings["trt_profile_min_shapes"] == "mel:1x80x1"
    assert (chosen.settings["trt_fp16_enable"], chosen.dtype) == ("True", "float16")
    full = choose(Wanted(device="cuda", gpu_provider="tensorrt"), num_bins=80)
    assert (full.settings["trt_fp16_enable"], full.dtype) == ("False", "float32")
    assert "trt_engine_cache_enable" not in full.settings


def test_a_cpu_computes_windows_one_by_one_and_has_no_limit() -> None:
    chosen = choose(Wanted(device="cpu", gpu_memory_mb=1024), num_bins=80)

    assert (chosen.name, chosen.settings, chosen.limit_bytes, chosen.batch_limit) == (CPU, {}, 0, 1)
