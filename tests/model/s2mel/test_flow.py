"""Euler steps, guidance and the start noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from services.s2mel_worker.model.flow import frame_noise
from services.s2mel_worker.model.stage import S2MelStageModel

NOISE_OF_SEED_7 = [-0.9005095, 1.36356, 1.1384341, -0.7198303]


def test_a_frame_has_the_same_noise_in_every_window() -> None:
    whole = frame_noise(2**63 + 5, 3, 0, 200)
    for first, count in ((0, 10), (43, 80), (199, 1)):
        assert torch.equal(frame_noise(2**63 + 5, 3, first, count), whole[first : first + count])


def test_noise_depends_on_seed_segment_and_frame() -> None:
    drawn = [
        frame_noise(seed, segment, frame, 1) for seed, segment, frame in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))
    ]
    assert all(not torch.equal(a, b) for n, a in enumerate(drawn) for b in drawn[:n])


def test_noise_is_standard_normal_and_stays_as_it_is() -> None:
    noise = frame_noise(7, 0, 0, 2000)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.005
    flat = (noise[:-1] * noise[1:]).mean()
    assert abs(flat) < 0.01
    # Streams are resumed by other machines and by later versions: these values are a promise.
    known = torch.tensor(NOISE_OF_SEED_7)
    torch.testing.assert_close(noise[5, [0, 1, 40, 79]], known, rtol=0, atol=1e-6)


def test_no_frames_have_no_noise() -> None:
    assert frame_noise(1, 1, 5, 0).shape == (0, 80)


def conditions() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)
    return {
        "noise": torch.randn(2, 80, 30, generator=generator),
        "prompt": torch.randn(2, 80, 30, generator=generator),
        "prompt_lengths": torch.tensor([10, 4]),
        "mu": torch.randn(2, 30, 18, generator=generator),
        "style": torch.randn(2, 12, generator=generator),
    }


def test_known_frames_stay_zero_and_their_noise_is_not_used(stage: S2MelStageModel) -> None:
    given = conditions()
    out = stage.cfm(**given, num_steps=3)
    assert not out[0, :, :10].any()
    assert not out[1, :, :4].any()
    given["noise"] = given["noise"].clone()
    given["noise"][0, :, :10] = 50
    given["prompt"] = given["prompt"].clone()
    given["prompt"][0, :, 10:] = 50
    assert torch.equal(stage.cfm(**given, num_steps=3), out)


def test_guidance_goes_beyond_the_conditioned_velocity(stage: S2MelStageModel) -> None:
    """One step from t = 0: x + 1.7 v_c - 0.7 v_u, with prompt, style and condition 0 in v_u."""
    given = {name: part[:1] for name, part in conditions().items()}
    known = torch.arange(30) < 10
    x = given["noise"].masked_fill(known, 0)
    prompt = given["prompt"].masked_fill(~known, 0)
    zero = torch.zeros(1)
    estimator = stage.cfm.estimator
    v_c = estimator(x, prompt, None, zero, given["style"], given["mu"])
    v_u = estimator(x, prompt * 0, None, zero, given["style"] * 0, given["mu"] * 0)
    expected = (x + 1.7 * v_c - 0.7 * v_u).masked_fill(known, 0)
    torch.testing.assert_close(stage.cfm(**given, num_steps=1, cfg_rate=0.7), expected, rtol=1e-5, atol=1e-5)


def test_no_guidance_is_the_limit_of_little(stage: S2MelStageModel) -> None:
    given = conditions()
    none = stage.cfm(**given, num_steps=2, cfg_rate=0)
    torch.testing.assert_close(none, stage.cfm(**given, num_steps=2, cfg_rate=1e-7), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", [{"num_steps": 4}, {"num_steps": 3, "cfg_rate": 0.3}])
def test_options_change_the_mel(stage: S2MelStageModel, option: dict[str, float]) -> None:
    given = conditions()
    reference = stage.cfm(**given, num_steps=3)
    assert (stage.cfm(**given, **option) - reference).abs().max() > 1e-3


def test_items_of_a_padded_batch_equal_their_own_runs(stage: S2MelStageModel) -> None:
    given = conditions()
    batch = stage.cfm(**given, lengths=torch.tensor([30, 21]), num_steps=4)
    alone = {name: part[1:] for name, part in given.items()}
    alone |= {
        "noise": alone["noise"][..., :21],
        "prompt": alone["prompt"][..., :21],
        "mu": alone["mu"][:, :21],
    }
    torch.testing.assert_close(batch[1:, :, :21], stage.cfm(**alone, num_steps=4), rtol=1e-5, atol=1e-5)
