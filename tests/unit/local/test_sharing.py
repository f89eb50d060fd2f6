"""What workers are told when they share the cores of one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.local import sharing
from bench.local.members import Member, members_of
from bench.local.sharing import cores_of, shared_settings

GPT = Member("gpt_worker", "gpt_worker", Path("m"))
S2MEL = Member("s2mel_worker", "s2mel_worker", Path("m"))
ALONE = members_of([Path("m")], {}, [])


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "has_fast_bfloat16", lambda: True)


@pytest.mark.usefixtures("has_bfloat16")
def test_a_worker_stands_back_and_computes_in_what_the_cpu_is_fast_at() -> None:
    assert shared_settings(S2MEL, {}) == {
        "TTS_S2MEL_NICENESS": "3",
        "TTS_S2MEL_AHEAD_NICENESS": "19",
        "TTS_S2MEL_DTYPE": "mixed",
    }
    assert shared_settings(GPT, {})["TTS_GPT_AHEAD_NICENESS"] == "0"


@pytest.mark.usefixtures("has_bfloat16")
def test_what_the_user_has_set_is_left_alone() -> None:
    mine = {"TTS_DTYPE": "fp32", "TTS_S2MEL_NICENESS": "0"}
    assert shared_settings(S2MEL, mine) == {"TTS_S2MEL_AHEAD_NICENESS": "19"}


@pytest.mark.usefixtures("has_bfloat16")
def test_one_worker_with_numbers_of_its_own_leaves_all_to_their_settings() -> None:
    """Two words would be two revisions, and no pipeline."""
    assert "TTS_GPT_DTYPE" not in shared_settings(GPT, {"TTS_VOCODER_DTYPE": "fp32"})


@pytest.mark.usefixtures("has_bfloat16")
def test_a_worker_with_a_gpu_keeps_its_numbers() -> None:
    assert "TTS_GPT_DTYPE" not in shared_settings(Member("gpt_worker", "gpt_worker", Path("m"), gpu="0"), {})


def test_a_cpu_that_has_to_emulate_short_numbers_is_spared_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "has_fast_bfloat16", lambda: False)
    assert "TTS_GPT_DTYPE" not in shared_settings(GPT, {})


def test_the_gateway_is_told_nothing() -> None:
    assert shared_settings(ALONE[-1], {}) == {}


@pytest.mark.parametrize(
    ("cores", "placed"),
    [
        ({4, 5}, {"gpt_worker": {4}, "vocoder_worker": {4, 5}, "s2mel_worker": {5}}),
        ({0}, {}),
        (set(), {}),
        ({0, 1, 2}, {}),
    ],
    ids=["fewer cores than workers", "one core", "unknown", "a core for each"],
)
def test_the_two_that_compute_most_are_kept_apart_where_cores_are_few(
    cores: set[int], placed: dict[str, set[int]]
) -> None:
    assert cores_of(ALONE, cores, {}) == placed


@pytest.mark.parametrize(
    "members",
    [members_of([Path("m")], {"gpt_worker": 2}, []), members_of([Path("m")], {}, ["0"])],
    ids=["replicas", "GPUs"],
)
def test_no_other_system_is_placed(members: list[Member]) -> None:
    assert cores_of(members, {0, 1}, {}) == {}


@pytest.mark.parametrize("name", ["TTS_THREADS", "TTS_S2MEL_THREADS"])
def test_who_sets_threads_is_not_placed(name: str) -> None:
    assert cores_of(ALONE, {0, 1}, {name: "2"}) == {}
