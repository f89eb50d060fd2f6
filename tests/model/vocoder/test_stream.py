"""Streamed sound equals the whole, and samples become PCM by truncation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.vocoder_worker.model.session import VocoderSession
from services.vocoder_worker.model.stream import Window, context_start, equal_lengths, settled_stop, to_pcm, vocode

CONTEXT = 24


@pytest.fixture(scope="module")
def mel() -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((150, 80)).astype(np.float32)


def sound(vocoder: VocoderSession, mel: NDArray[np.float32], first: int, stop: int) -> NDArray[np.int16]:
    [pcm] = vocode(vocoder, [Window(mel, first, stop)])
    return pcm


def stream(
    vocoder: VocoderSession, mel: NDArray[np.float32], known: list[int], *, context: int, look_ahead: int
) -> NDArray[np.int16]:
    """Sound of mel frames that become known up to each of `known`; holds no more than it must."""
    parts, held_from, next_frame = [], 0, 0
    for num_frames in [*known, len(mel)]:
        stop = settled_stop(num_frames, num_frames == len(mel), look_ahead)
        if stop <= next_frame:
            continue
        held = mel[held_from : min(num_frames, stop + look_ahead)]
        parts.append(sound(vocoder, held, next_frame - held_from, stop - held_from))
        next_frame, held_from = stop, context_start(stop, context)
    return np.concatenate(parts)


@pytest.mark.parametrize("known", [[43, 86, 130], [20, 25, 26, 60, 149], [1], [149]])
def test_streamed_sound_equals_the_whole_to_one_step(
    vocoder: VocoderSession, mel: NDArray[np.float32], known: list[int]
) -> None:
    whole = sound(vocoder, mel, 0, len(mel))
    assert whole.std() > 100
    streamed = stream(vocoder, mel, known, context=CONTEXT, look_ahead=CONTEXT)
    assert streamed.shape == whole.shape == (150 * 8,)
    assert np.abs(streamed.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(("context", "look_ahead"), [(1, CONTEXT), (CONTEXT, 1)])
def test_too_little_on_either_side_would_show(
    vocoder: VocoderSession, mel: NDArray[np.float32], context: int, look_ahead: int
) -> None:
    whole = sound(vocoder, mel, 0, len(mel))
    streamed = stream(vocoder, mel, [43, 86, 130], context=context, look_ahead=look_ahead)
    assert np.abs(streamed.astype(int) - whole).max() > 10


def test_resuming_needs_the_context_alone(vocoder: VocoderSession, mel: NDArray[np.float32]) -> None:
    whole = sound(vocoder, mel, 0, len(mel))
    start = context_start(86, CONTEXT)
    rest = sound(vocoder, mel[start:], 86 - start, len(mel) - start)
    assert np.abs(rest.astype(int) - whole[86 * 8 :]).max() <= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 200), min_size=1).map(sorted), st.integers(0, 40))
def test_settled_frames_never_go_back_and_end_complete(known: list[int], look_ahead: int) -> None:
    stops = [settled_stop(n, False, look_ahead) for n in known]
    assert stops == sorted(stops)
    assert all(stop + look_ahead <= n or stop == 0 for stop, n in zip(stops, known, strict=True))
    assert settled_stop(known[-1], True, look_ahead) == known[-1] >= stops[-1]


def test_pcm_is_truncated_toward_zero() -> None:
    """Rounding would give 2, 1, -1, -2; a peak of 32768 would give the same here and fail below."""
    wave = np.array([1.9, 0.9, -0.9, -1.9], np.float32) / np.float32(32767)
    assert to_pcm(wave).tolist() == [1, 0, 0, -1]


def test_pcm_peak_is_32767() -> None:
    wave = np.array([1, -1, 1.5, -7, 0.5, -0.5], np.float32)
    assert to_pcm(wave).tolist() == [32767, -32767, 32767, -32767, 16383, -16383]
    assert to_pcm(wave).dtype == np.int16


def test_frames_outside_the_mel_are_refused(mel: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="not within 150"):
        Window(mel, 10, 151)


def test_no_frames_make_no_samples_and_no_call(mel: NDArray[np.float32]) -> None:
    vocoder = Counting(batch_limit=4)
    assert [pcm.shape for pcm in vocode(vocoder, [Window(mel, 7, 7)])] == [(0,)]
    assert vocoder.shapes == []


class Counting:
    """A vocoder of two samples a frame, each the frame's first bin; counts its calls."""

    hop_length = 2

    def __init__(self, batch_limit: int) -> None:
        self.batch_limit = batch_limit
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shapes.append(mels.shape[:2])
        return np.repeat(mels[:, :, 0], 2, axis=1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(0, 6)), max_size=12), st.integers(1, 4))
def test_windows_share_calls_by_length_and_keep_their_own_samples(
    drawn: list[tuple[int, int, int]], batch_limit: int
) -> None:
    windows = []
    for number, (length, one, other) in enumerate(drawn):
        mel = np.full((length, 1), (number + 1) / 32767, np.float32)
        windows.append(Window(mel, *sorted((min(one, length), min(other, length)))))
    vocoder = Counting(batch_limit)

    pcm = vocode(vocoder, windows)

    for number, (window, samples) in enumerate(zip(windows, pcm, strict=True)):
        assert len(samples) == 2 * (window.stop - window.first)
        assert np.abs(samples - (number + 1)).max(initial=0) <= 1
    assert all(rows <= batch_limit for rows, _ in vocoder.shapes)
    members = [index for group in equal_lengths(windows, batch_limit) for index in group]
    assert sorted(members) == [index for index, window in enumerate(windows) if not window.is_empty]
    for length in {length for _, length in vocoder.shapes}:
        rows = [rows for rows, other in vocoder.shapes if other == length]
        assert all(count == batch_limit for count in rows[:-1])
