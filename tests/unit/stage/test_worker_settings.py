"""What a worker refuses before it loads anything."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.common.stage.settings import StageSettings


def test_unless_told_otherwise_a_worker_takes_what_is_there_and_waits_for_nobody() -> None:
    settings = StageSettings()

    assert (settings.device, settings.dtype) == ("auto", "auto")
    assert (settings.batch_window_ms, settings.gpu_memory_mb) == (0, 0)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
@pytest.mark.parametrize("dtype", ["auto", "fp32", "fp16", "bf16"])
def test_devices_and_numbers_that_are_allowed(device: str, dtype: Any) -> None:
    settings = StageSettings(device=device, dtype=dtype)

    assert (settings.device, settings.dtype) == (device, dtype)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "mps"}, "mps is not supported: Apple GPUs"),
        ({"device": "gpu"}, "must be auto, cpu, cuda, or cuda:N"),
        ({"device": "cuda:first"}, "must be auto, cpu, cuda, or cuda:N"),
        ({"dtype": "float16"}, "'auto', 'fp32', 'fp16', 'bf16' or 'mixed'"),
        ({"batch_window_ms": 20.5}, "less than or equal to 20"),
        ({"batch_window_ms": -1}, "greater than or equal to 0"),
        ({"batch_window_ms": "nan"}, "batch_window_ms"),
        ({"gpu_memory_mb": -1}, "greater than or equal to 0"),
        ({"gpu_memory_mb": "lots"}, "valid integer"),
        ({"max_batch_size": 0}, "greater than or equal to 1"),
        ({"slots": 0}, "greater than or equal to 1"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"voice_cache_mb": -1}, "greater than or equal to 0"),
    ],
    ids=str,
)
def test_other_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StageSettings(**values)
