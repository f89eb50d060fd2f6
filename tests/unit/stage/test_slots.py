"""How many slots fit a memory limit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.common.checkpoint import CheckpointError
from services.common.stage.settings import StageSettings
from services.common.stage.slots import MEBIBYTE, less_memory, slots_that_fit
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.vocoder_worker.settings import VocoderWorkerSettings


def fit(wanted: int, *, limit: int, fixed: int, each: int, step: int = 0, savers: Sequence[str] = ()) -> int:
    """Slots of a stage whose step takes `step` for each row, and shares it among at most three."""

    def demand(slots: int) -> dict[str, int]:
        return {"weights": fixed, "slots": slots * each, "steps": min(slots, 3) * step}

    return slots_that_fit(wanted, stage="gpt", limit_bytes=limit, demand=demand, savers=savers)


def test_without_a_limit_there_are_as_many_as_were_set() -> None:
    assert fit(7, limit=0, fixed=10**12, each=10**12) == 7


@given(st.integers(1, 256), st.integers(1, 10**10), st.integers(0, 10**9), st.integers(1, 10**9), st.integers(0, 10**9))
def test_all_that_is_taken_together_stays_below_the_limit_and_with_one_slot_more_it_would_not(
    wanted: int, limit: int, fixed: int, each: int, step: int
) -> None:
    def taken(slots: int) -> int:
        return fixed + slots * each + min(slots, 3) * step

    try:
        slots = fit(wanted, limit=limit, fixed=fixed, each=each, step=step)
    except CheckpointError:
        assert taken(1) > limit
        return
    assert 1 <= slots <= wanted
    assert taken(slots) <= limit
    assert slots == wanted or taken(slots + 1) > limit


def test_a_limit_below_one_slot_says_what_would_be_enough() -> None:
    """And what it says is enough."""
    told = "gpu_memory_mb is 100, but the gpt worker with one slot needs 141: weights 91, slots 40, steps 10; raise it$"
    fixed, each, step = 90 * MEBIBYTE + 1, 40 * MEBIBYTE, 10 * MEBIBYTE
    with pytest.raises(CheckpointError, match=told):
        fit(4, limit=100 * MEBIBYTE, fixed=fixed, each=each, step=step)
    assert fit(4, limit=141 * MEBIBYTE, fixed=fixed, each=each, step=step) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (GptWorkerSettings, "raise it, or choose a smaller prefix_cache_mb, voice_encoders cpu or dtype fp16"),
        (S2MelWorkerSettings, "raise it, or choose voice_encoders cpu or dtype fp16"),
        (VocoderWorkerSettings, "raise it"),
    ],
)
def test_each_stage_names_what_it_can_be_set_to(settings: type[StageSettings], told: str) -> None:
    """Fewer slots and smaller batches are no help where not even one slot fits."""
    with pytest.raises(CheckpointError, match=f"; {told}$"):
        fit(4, limit=MEBIBYTE, fixed=2 * MEBIBYTE, each=1, savers=settings.memory_savers)
    for saver in settings.memory_savers:
        assert set(settings.model_fields) & set(saver.split())


def test_with_several_slots_fewer_of_them_help_too() -> None:
    assert less_memory(()) == "fewer slots or a smaller max_batch_size"
    assert less_memory(("dtype fp16",)) == "fewer slots, a smaller max_batch_size or dtype fp16"


def test_the_log_says_what_each_part_takes() -> None:
    with capture_logs() as lines:
        fit(8, limit=100 * MEBIBYTE, fixed=30 * MEBIBYTE, each=10 * MEBIBYTE, step=10 * MEBIBYTE)

    assert lines[0] == {
        "event": "slots",
        "log_level": "info",
        "stage": "gpt",
        "slots": 4,
        "slots_wanted": 8,
        "limit_mb": 100,
        "needed_mb": 100,
        "weights_mb": 30,
        "slots_mb": 40,
        "steps_mb": 30,
    }
