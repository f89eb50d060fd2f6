"""Mel and filter bank of a recording."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from services.common.checkpoint import PreprocessParams
from services.s2mel_worker.model.fbank import FLOOR, kaldi_bank, kaldi_fbank, povey_window
from services.s2mel_worker.model.mel import log_mel, slaney_bank

PARAMS = PreprocessParams()


def tone(hertz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    time = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    return (0.5 * torch.sin(2 * math.pi * hertz * time)).float()


def test_silence_reaches_the_floor() -> None:
    """No golden does."""
    mel = log_mel(torch.zeros(22050), PARAMS)
    assert mel.shape == (86, 80)
    # sqrt(1e-9) through a filter of small area is still below the floor.
    assert torch.equal(mel, torch.full_like(mel, math.log(1e-5)))
    bank = kaldi_fbank(torch.zeros(16000))
    assert torch.equal(bank, torch.full_like(bank, math.log(FLOOR)))


@pytest.mark.parametrize("samples", [2560, 2561, 2815, 2816])
def test_frames_are_whole_hops(samples: int) -> None:
    assert len(log_mel(torch.randn(samples), PARAMS)) == samples // 256


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (559, 1), (560, 2), (16000, 98)])
def test_fbank_frames_do_not_reach_over_the_end(samples: int, frames: int) -> None:
    assert kaldi_fbank(torch.randn(samples)).shape == (frames, 80)


def test_too_short_recordings_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 384"):
        log_mel(torch.zeros(384), PARAMS)
    with pytest.raises(ValueError, match="400 samples"):
        kaldi_fbank(torch.zeros(399))


def test_slaney_bank_is_linear_below_a_kilohertz_and_of_equal_area() -> None:
    bank = slaney_bank(22050, 1024, 80, 0, 11025).astype(np.float64)
    frequencies = np.linspace(0, 11025, 513)
    peaks = frequencies[bank.argmax(1)]
    assert np.allclose(np.diff(peaks[:24]), 37.2, atol=22)
    assert np.all(np.diff(peaks) > 0)
    # Narrow filters meet few bins, so only the wide ones show their area of 1.
    assert np.allclose((bank * (frequencies[1] - frequencies[0])).sum(1)[40:], 1, atol=0.02)


def test_a_tone_is_loudest_in_its_bin() -> None:
    bank = slaney_bank(22050, 1024, 80, 0, 11025)
    for hertz in (300.0, 1000.0, 4000.0):
        nearest = int(bank[:, round(hertz / 22050 * 1024)].argmax())
        assert log_mel(tone(hertz, 22050), PARAMS)[20].argmax() == nearest
        mel = kaldi_bank(80)[:, round(hertz / 16000 * 512)].argmax()
        assert kaldi_fbank(tone(hertz, 16000))[20].argmax() == mel


def test_fbank_ignores_a_constant_offset() -> None:
    audio = tone(500, 16000)
    torch.testing.assert_close(kaldi_fbank(audio + 0.25), kaldi_fbank(audio), rtol=1e-4, atol=1e-3)


def test_window_is_symmetric_and_starts_at_nothing() -> None:
    window = povey_window(torch.device("cpu"))
    assert window[0] == 0
    torch.testing.assert_close(window, window.flip(0))
    assert window[200].item() == pytest.approx(1, abs=1e-4)
