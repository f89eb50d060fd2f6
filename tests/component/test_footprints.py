"""What the stages say that they take on a GPU, against what the same code takes in CPU tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from services.common.checkpoint import CheckpointConfig, CheckpointFiles, load_config
from services.common.cuda_graphs import GraphCapture
from services.gpt_worker import footprint as gpt_footprint
from services.gpt_worker.model.decoding import BatchDecoder, NextCode
from services.gpt_worker.model.loading import PROMPT_SECONDS, GptStageModel, load_gpt_stage
from services.s2mel_worker import footprint as s2mel_footprint
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.stepping import Batched
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.vocoder_worker.model import footprint as vocoder_footprint
from tests.system.conftest import MODEL_DIR

FILES = CheckpointFiles.locate(Path(MODEL_DIR), load_config(Path(MODEL_DIR)))
CONFIG = load_config(Path(MODEL_DIR))
TOO_LARGE = 2.5
"""An estimate further above what is taken than this would cost slots for nothing."""


def peak_bytes(compute: Callable[[], object]) -> int:
    """The most memory that tensors took at a time while it computed."""
    # The same before: what is made at the first call and kept.
    with torch.inference_mode():
        compute()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            compute()
    taken = peak = 0
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        taken += event.nbytes()
        peak = max(peak, taken)
    return peak


def with_longer_windows(config: CheckpointConfig, codes: int) -> CheckpointConfig:
    policies = {
        name: policy.model_copy(update={"max_window_codes": policy.max_window_codes + codes})
        for name, policy in config.triptych.policies.items()
    }
    return config.model_copy(update={"triptych": config.triptych.model_copy(update={"policies": policies})})


@pytest.fixture(scope="module")
def gpt() -> GptStageModel:
    return load_gpt_stage(FILES, CONFIG)


@pytest.fixture(scope="module")
def s2mel() -> S2MelStageModel:
    return load_s2mel_stage(FILES, CONFIG)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_code_of_the_longest_segments_takes_what_is_stated(gpt: GptStageModel, rows: int) -> None:
    dimensions = gpt.voice.dimensions
    length = gpt_footprint.slot_positions(dimensions)
    decoder = BatchDecoder(gpt.voice, rows=rows, max_length=length)

    def decode() -> None:
        decoder.cache.lengths = [length - 1] * (rows + 1)
        decoder.decode([NextCode(row, 5, 3) for row in range(rows)])

    stated = gpt_footprint.decode_bytes(dimensions, torch.float32, rows)
    assert stated / TOO_LARGE < peak_bytes(decode) <= stated


def test_the_last_piece_of_the_longest_prefix_takes_what_is_stated(gpt: GptStageModel) -> None:
    dimensions, count = gpt.voice.dimensions, BatchDecoder.prefill_positions
    cache = gpt.voice.gpt.new_cache(1, gpt_footprint.slot_positions(dimensions))
    piece = torch.randn(count, dimensions.width)

    def extend() -> None:
        cache.lengths = [cache.max_length - count]
        gpt.voice.extend(piece, cache, 0)

    stated = gpt_footprint.prefill_bytes(dimensions, torch.float32)
    assert stated / TOO_LARGE < peak_bytes(extend) <= stated


def test_the_longest_recording_takes_what_is_stated(gpt: GptStageModel, s2mel: S2MelStageModel) -> None:
    rng = np.random.default_rng(1)
    low, high = (torch.from_numpy(rng.standard_normal(int(PROMPT_SECONDS * rate)) * 0.1) for rate in (16000, 22050))
    features = torch.randn(749, CONFIG.semantic_encoder.hidden_size)
    stated = gpt_footprint.voice_bytes(gpt)
    assert stated / TOO_LARGE < peak_bytes(lambda: gpt.emotion_features(low.float())) <= stated
    stated = s2mel_footprint.voice_bytes(s2mel)
    assert stated / TOO_LARGE < peak_bytes(lambda: s2mel.prompt(high.float(), low.float(), features)) <= stated


def longest(stage: S2MelStageModel) -> Trajectory:
    frames = s2mel_footprint.longest_render(CONFIG)
    known = int(0.8 * 22050 / 256)
    condition = torch.randn(frames, CONFIG.s2mel.length_regulator.channels)
    clock = Clock.of(stage.velocity, Solver(8, order=2))
    noise = torch.randn(frames - known, 80)
    return stage.trajectory(clock, condition, torch.randn(known, 80), torch.randn(192), noise, 0.7)


def test_a_step_of_the_longest_renders_takes_what_is_stated(s2mel: S2MelStageModel) -> None:
    rows = 2
    stepper = Batched(s2mel.velocity, GraphCapture(s2mel.device))
    renders = [longest(s2mel) for _ in range(rows)]

    stated = s2mel_footprint.step_bytes(CONFIG, rows)
    assert stated / TOO_LARGE < peak_bytes(lambda: stepper.advance(renders)) <= stated
    [plan] = stepper._plans.values()
    stated = s2mel_footprint.plan_bytes(CONFIG, rows)
    assert stated / TOO_LARGE < plan.num_bytes <= stated


def test_the_longest_render_takes_what_is_stated_before_its_first_step(s2mel: S2MelStageModel) -> None:
    codes = torch.zeros(int(s2mel_footprint.longest_render(CONFIG) / 1.72), dtype=torch.long)
    latents = torch.randn(len(codes), CONFIG.gpt.model_dim)

    stated = s2mel_footprint.begin_bytes(CONFIG)
    assert stated / TOO_LARGE < peak_bytes(lambda: s2mel.cond(codes, latents)) <= stated


def with_policy(config: CheckpointConfig, **numbers: float) -> CheckpointConfig:
    """With one streaming policy, the first one changed."""
    name, policy = next(iter(config.triptych.policies.items()))
    policies = {name: policy.model_copy(update=numbers)}
    return config.model_copy(update={"triptych": config.triptych.model_copy(update={"policies": policies})})


@pytest.mark.parametrize(
    ("codes", "look_ahead", "frames"),
    [(4, 0, 20 + 14 + 16), (4, 40, 20 + 14 + 40), (100, 0, 20 + 96 + 16), (1000, 40, 20 + 96 + 40)],
)
def test_the_vocoder_takes_a_piece_of_a_window_at_the_slowest_speech(codes: int, look_ahead: int, frames: int) -> None:
    """With the policy's context before it, and behind it what an inner piece has or the policy asks for."""
    config = with_policy(
        CONFIG,
        max_window_codes=codes,
        look_ahead_codes=0,
        vocoder_context_frames=20,
        vocoder_look_ahead_frames=look_ahead,
    )
    assert vocoder_footprint.longest_call(config) == frames


def test_windows_are_taken_at_the_slowest_speech() -> None:
    """A hundred codes more are 344 frames at twice the length, give or take the rounding up to a shape."""
    longer = with_longer_windows(CONFIG, 100)

    assert vocoder_footprint.longest_call(longer) == vocoder_footprint.longest_call(CONFIG)
    grown = s2mel_footprint.longest_render(longer) - s2mel_footprint.longest_render(CONFIG)
    assert 344 <= grown + 128 <= 344 + 2 * 128
    for estimate in (s2mel_footprint.step_bytes, s2mel_footprint.plan_bytes):
        assert estimate(longer, 1) > estimate(CONFIG, 1)


def test_a_step_needs_room_for_those_that_share_it_and_not_for_every_slot(
    gpt: GptStageModel, s2mel: S2MelStageModel
) -> None:
    demands = {
        "gpt": gpt_footprint.demand(gpt, max_batch_size=4, prefix_cache_bytes=64),
        "s2mel": s2mel_footprint.demand(s2mel, max_batch_size=4, limit_bytes=0),
        "vocoder": vocoder_footprint.demand(FILES, CONFIG, max_batch_size=4),
    }
    for stage, demand in demands.items():
        one, four, many = (demand(slots) for slots in (1, 4, 40))
        assert one["steps"] < four["steps"] == many["steps"], stage
        assert sum(one.values()) < sum(four.values()) <= sum(many.values()), stage
        assert all(size >= 0 for size in one.values()), stage
    assert demands["gpt"](1)["caches"] == 64


def test_voices_that_are_computed_elsewhere_need_no_room() -> None:
    gpt, s2mel = load_gpt_stage(FILES, CONFIG, "cpu", "cpu"), load_s2mel_stage(FILES, CONFIG, "cpu", "cpu")

    assert gpt_footprint.voice_bytes(gpt) == s2mel_footprint.voice_bytes(s2mel) == 0


@pytest.mark.parametrize("limit", [0, 2**20, 2**33])
def test_shapes_that_are_kept_ready_stay_within_their_share_of_a_limit(s2mel: S2MelStageModel, limit: int) -> None:
    kept = s2mel_footprint.demand(s2mel, max_batch_size=8, limit_bytes=limit)(8)["graphs"]
    step, plan = s2mel_footprint.step_bytes(CONFIG, 8), s2mel_footprint.plan_bytes(CONFIG, 8)
    most = s2mel_footprint.max_plan_bytes(limit)

    assert kept - step <= (64 * plan if most is None else max(most, plan))
    assert kept - step >= plan
