"""Resampling and semantic features, against formulas written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.gpt_worker.model.features import log_mel_frames, semantic_features
from services.gpt_worker.model.resampling import resample


def tone(hertz: float, rate_hz: int, samples: int) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate_hz).float()


def test_resampling_keeps_a_tone_and_rounds_the_length_up() -> None:
    resampled = resample(tone(440, 22050, 10001), 22050, 16000)
    assert len(resampled) == -(-10001 * 320 // 441)
    inner = slice(200, -200)
    torch.testing.assert_close(resampled[inner], tone(440, 16000, len(resampled))[inner], atol=2e-3, rtol=0)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    assert resample(tone(9500, 22050, 8000), 22050, 16000)[200:-200].abs().max() < 0.06


def test_equal_rates_are_the_identity() -> None:
    audio = tone(440, 22050, 500)
    assert resample(audio, 22050, 22050) is audio


@pytest.mark.parametrize(("samples", "rows", "last"), [(400 + 160 * 99, 50, 1), (400 + 160 * 98, 50, 0)])
def test_odd_number_of_frames_ends_in_a_masked_row(samples: int, rows: int, last: int) -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, samples).astype(np.float32)
    features, mask = semantic_features(audio)
    assert features.shape == (rows, 160)
    assert mask.tolist() == [1] * (rows - 1) + [last]
    if not last:
        assert (features[-1, 80:] == 1.0).all()


def test_each_bin_is_normalised_over_time() -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, 16240).astype(np.float32)
    features, _ = semantic_features(audio)
    bins = features.reshape(-1, 80)
    np.testing.assert_allclose(bins.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(bins.std(axis=0, ddof=1), 1, atol=1e-4)


def test_tone_falls_into_its_mel_bin() -> None:
    frames = log_mel_frames(tone(1000, 16000, 4000).numpy())
    low, high, expected_mel = (1127 * np.log(1 + hertz / 700) for hertz in (20, 8000, 1000))
    expected = (expected_mel - low) / (high - low) * 81 - 1
    assert (np.abs(frames.argmax(axis=1) - expected) <= 1).all()


def test_silence_stays_finite() -> None:
    features, _ = semantic_features(np.zeros(4000, np.float32))
    assert np.isfinite(features).all()


def test_too_short_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 560"):
        semantic_features(np.zeros(500, np.float32))
