"""Streamed sound equals the whole, and samples become PCM by truncation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.vocoder_worker.model.session import VocoderSession
from services.vocoder_worker.model.stream import context_start, settled_stop, to_pcm, vocode

CONTEXT = 24


@pytest.fixture(scope="module")
def mel() -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((150, 80)).astype(np.float32)


def stream(vocoder: VocoderSession, mel: NDArray[np.float32], known: list[int], context: int) -> NDArray[np.int16]:
    """Sound of mel frames that become known up to each of `known`; holds no more than it must."""
    parts, held_from, next_frame = [], 0, 0
    for num_frames in [*known, len(mel)]:
        stop = settled_stop(num_frames, num_frames == len(mel), context)
        if stop <= next_frame:
            continue
        held = mel[held_from : min(num_frames, stop + context)]
        parts.append(vocode(vocoder, held, next_frame - held_from, stop - held_from))
        next_frame, held_from = stop, context_start(stop, context)
    return np.concatenate(parts)


@pytest.mark.parametrize("known", [[43, 86, 130], [20, 25, 26, 60, 149], [1], [149]])
def test_streamed_sound_equals_the_whole_to_one_step(
    vocoder: VocoderSession, mel: NDArray[np.float32], known: list[int]
) -> None:
    whole = vocode(vocoder, mel, 0, len(mel))
    assert whole.std() > 100
    streamed = stream(vocoder, mel, known, CONTEXT)
    assert streamed.shape == whole.shape == (150 * 8,)
    assert np.abs(streamed.astype(int) - whole).max() <= 1


def test_too_little_context_would_show(vocoder: VocoderSession, mel: NDArray[np.float32]) -> None:
    whole = vocode(vocoder, mel, 0, len(mel))
    streamed = stream(vocoder, mel, [43, 86, 130], 1)
    assert np.abs(streamed.astype(int) - whole).max() > 10


def test_resuming_needs_the_context_alone(vocoder: VocoderSession, mel: NDArray[np.float32]) -> None:
    whole = vocode(vocoder, mel, 0, len(mel))
    start = context_start(86, CONTEXT)
    rest = vocode(vocoder, mel[start:], 86 - start, len(mel) - start)
    assert np.abs(rest.astype(int) - whole[86 * 8 :]).max() <= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 200), min_size=1).map(sorted), st.integers(0, 40))
def test_settled_frames_never_go_back_and_end_complete(known: list[int], context: int) -> None:
    stops = [settled_stop(n, False, context) for n in known]
    assert stops == sorted(stops)
    assert all(stop + context <= n or stop == 0 for stop, n in zip(stops, known, strict=True))
    assert settled_stop(known[-1], True, context) == known[-1] >= stops[-1]


def test_pcm_is_truncated_toward_zero() -> None:
    """Rounding would give 2, 1, -1, -2; a peak of 32768 would give the same here and fail below."""
    wave = np.array([1.9, 0.9, -0.9, -1.9], np.float32) / np.float32(32767)
    assert to_pcm(wave).tolist() == [1, 0, 0, -1]


def test_pcm_peak_is_32767() -> None:
    wave = np.array([1, -1, 1.5, -7, 0.5, -0.5], np.float32)
    assert to_pcm(wave).tolist() == [32767, -32767, 32767, -32767, 16383, -16383]
    assert to_pcm(wave).dtype == np.int16


def test_frames_outside_the_mel_are_refused(vocoder: VocoderSession, mel: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="not within 150"):
        vocode(vocoder, mel, 10, 151)


def test_no_frames_make_no_samples(vocoder: VocoderSession, mel: NDArray[np.float32]) -> None:
    assert vocode(vocoder, mel, 7, 7).shape == (0,)
