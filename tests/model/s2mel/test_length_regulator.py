"""Index maps, and items of a padded batch against their own runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from services.s2mel_worker.model.length_regulator import streaming_map, whole_map
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.windows import frames_of

MOST_CODES = 1815


def test_whole_map_is_the_float32_nearest_index() -> None:
    """The table itself: integer arithmetic is wrong for 182 lengths, and no golden holds one of them."""
    differing = []
    for num_codes in range(1, MOST_CODES + 1):
        num_frames = frames_of(num_codes)
        index = whole_map(num_codes, num_frames)
        codes = torch.arange(num_codes, dtype=torch.float32)[None, None]
        assert index.tolist() == F.interpolate(codes, size=num_frames, mode="nearest").long().flatten().tolist()
        if not torch.equal(index, torch.arange(num_frames) * num_codes // num_frames):
            differing.append(num_codes)
    assert len(differing) == 182
    assert differing[:5] == [26, 64, 70, 77, 84]


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.77, 1.3, 2.0])
def test_streaming_map_is_the_same_in_every_window(factor: float) -> None:
    whole = streaming_map(0, 120, factor)
    for first, num_codes in ((0, 50), (25, 40), (33, 70), (118, 2)):
        part = streaming_map(first, num_codes, factor) + first
        expected = whole[frames_of(first, factor) : frames_of(first + num_codes, factor)]
        # Only a frame on the border may read a code before, which the window does not hold.
        assert torch.equal(part[1:], expected[1:])
        assert part[0] - expected[0] in (0, 1, 2)


def test_streaming_map_stretches_by_the_factor() -> None:
    for factor in (0.5, 0.9, 1.1, 2.0):
        index = streaming_map(0, 100, factor)
        assert len(index) == frames_of(100, factor)
        assert index[0] == 0
        assert index[-1] >= 97


def test_streaming_map_reads_every_code() -> None:
    assert sorted(set(streaming_map(0, 300).tolist())) == list(range(300))
    assert sorted(set(streaming_map(40, 30).tolist())) == list(range(30))


def test_items_of_a_padded_batch_equal_their_own_runs(stage: S2MelStageModel) -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = (31, 9, 50)
    features = torch.full((3, 50, 16), float("nan"))
    index, lengths = torch.zeros(3, 86, dtype=torch.int64), []
    for row, size in enumerate(sizes):
        features[row, :size] = torch.randn(size, 16, generator=generator)
        index[row, : frames_of(size)] = streaming_map(0, size)
        lengths.append(frames_of(size))
    features = features.nan_to_num(nan=1e4)
    batch = stage.length_regulator(features, index, torch.tensor(lengths))
    for row, (size, length) in enumerate(zip(sizes, lengths, strict=True)):
        alone = stage.length_regulator(features[row : row + 1, :size], index[row : row + 1, :length])[0]
        torch.testing.assert_close(batch[row, :length], alone, rtol=1e-5, atol=1e-5)
        assert not batch[row, length:].any()


def test_statistics_cover_all_channels_and_frames(stage: S2MelStageModel) -> None:
    """A group norm over one group: the answer to a longer input is not a prefix of it."""
    features = torch.randn(1, 40, 16, generator=torch.Generator().manual_seed(2))
    long = stage.length_regulator(features, whole_map(40, 68)[None])[0]
    short = stage.length_regulator(features[:, :20], whole_map(20, 34)[None])[0]
    assert (long[:20] - short[:20]).abs().max() > 1e-3
