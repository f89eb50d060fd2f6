"""Profiles of a config.yaml: what a table may say, and what the refusal of a bad one names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.checkpoint import CheckpointConfig, CheckpointError, load_config
from services.common.checkpoint.parameters import gpt_parameters, s2mel_parameters
from services.common.checkpoint.profile_checks import complaints

NAN = float("nan")


def load(directory: Path, **sections: Any) -> CheckpointConfig:
    (directory / "config.yaml").write_text(yaml.safe_dump({"triptych": sections}), encoding="utf-8")
    return load_config(directory)


def profile(**numbers: Any) -> dict[str, Any]:
    return {"calm": numbers}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"codes_per_chunk": 0}, "codes_per_chunk = 0: 1 to 256 are allowed"),
        ({"codes_per_chunk": 257}, "codes_per_chunk = 257: 1 to 256 are allowed"),
        ({"window_growth": 0.9}, "window_growth = 0.9: 1 to 8 are allowed"),
        ({"window_growth": NAN}, "window_growth = nan: 1 to 8 are allowed"),
        ({"prompt_seconds": 15.5}, "prompt_seconds = 15.5: 0.1 to 15 are allowed"),
        ({"look_ahead_codes": -1}, "look_ahead_codes = -1: 0 to 1024 are allowed"),
        ({"vocoder_context_frames": 257}, "vocoder_context_frames = 257: 0 to 256 are allowed"),
        ({"first_window_codes": 30, "max_window_codes": 20}, "max_window_codes = 20: 30 or more are allowed"),
        ({"look_ahead_codes": 3, "crossfade_frames": 8}, "crossfade_frames = 8: 0 to 5 are allowed"),
        (
            {"first_window_codes": 4, "vocoder_look_ahead_frames": 0, "crossfade_frames": 8},
            "crossfade_frames = 8: 0 to 6 are allowed",
        ),
        (
            {"first_window_codes": 12},
            "vocoder_look_ahead_frames = 24: 0 to 19 are allowed, or no sound would come of the first window, 12 codes",
        ),
        ({"params": {"stpes": 4}}, "params.stpes = 4: no stage has this parameter; did you mean steps?"),
        ({"params": {"steps": 0}}, "params.steps = 0: whole numbers 1 to 100 are allowed"),
        ({"params": {"steps": 4.5}}, "params.steps = 4.5: whole numbers 1 to 100 are allowed"),
        ({"params": {"sway": NAN}}, "params.sway = nan: -1 to 1 are allowed"),
        ({"params": {"solver_order": 3}}, "params.solver_order = 3: whole numbers 1 to 2 are allowed"),
        ({"params": {"cfg_rate": 3.1}}, "params.cfg_rate = 3.1: 0 to 3 are allowed"),
        ({"params": {"compat": 1}}, "params.compat = 1: not allowed in a profile, it is a policy of its own"),
        ({"params": {"num_beams": 3}}, "params.num_beams = 3: not allowed in a profile, it needs policy compat"),
        (
            {"params": {"greedy": 1, "top_k": 5}},
            "params.top_k = 5: has no effect with params.greedy, which draws nothing",
        ),
        (
            {"params": {"guidance_interval": 2, "cfg_rate": 0}},
            "params.guidance_interval = 2: has no effect where params.cfg_rate is 0",
        ),
    ],
    ids=str,
)
def test_a_bad_profile_is_refused_by_profile_field_and_value(
    tmp_path: Path, numbers: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"triptych.policies.calm.{message}")):
        load(tmp_path, policies=profile(**numbers))


def test_every_profile_is_looked_at_and_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    policies = {"calm": {"params": {"steps": 0, "cfg_rate": 9}}, "swift": {"crossfade_frames": 200}}
    with pytest.raises(CheckpointError) as refused:
        load(tmp_path, policies=policies)

    for key in ("calm.params.steps", "calm.params.cfg_rate", "swift.crossfade_frames"):
        assert f"triptych.policies.{key} = " in str(refused.value)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"prompt_seconds": 0}, "triptych.whole.prompt_seconds = 0: 0.1 to 15 are allowed"),
        ({"params": {"steps": 101}}, "triptych.whole.params.steps = 101: whole numbers 1 to 100 are allowed"),
    ],
    ids=str,
)
def test_a_whole_render_is_checked_like_the_profiles(tmp_path: Path, whole: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(tmp_path, whole=whole)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("sampling", {"temperature": 3}, "triptych.sampling.temperature = 3: 0.1 to 2 are allowed"),
        ("sampling", {"length_penalty": -3}, "triptych.sampling.length_penalty = -3: -2 to 2 are allowed"),
        ("sampling", {"num_beams": 3}, "triptych.sampling.num_beams = 3: input should be 1"),
        ("flow", {"steps": 200}, "triptych.flow.steps = 200: whole numbers 1 to 100 are allowed"),
        ("flow", {"cfg_rate": 4}, "triptych.flow.cfg_rate = 4: 0 to 3 are allowed"),
    ],
    ids=str,
)
def test_a_default_that_no_request_could_ask_for_is_refused(
    tmp_path: Path, section: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(tmp_path, **{section: values})


def test_the_profiles_of_a_checkpoint_without_its_own_are_as_they_should_be() -> None:
    assert list(complaints(CheckpointConfig())) == []


@pytest.mark.parametrize("gpt", [{}, {"number_mel_codes": 18, "max_mel_tokens": 120}], ids=["official", "tiny"])
def test_defaults_of_all_parameters_are_in_their_ranges(tmp_path: Path, gpt: dict[str, int]) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"gpt": gpt}), encoding="utf-8")
    config = load_config(tmp_path)

    for spec in (*gpt_parameters(config), *s2mel_parameters(config)):
        assert spec.accepts(spec.default), spec.name
