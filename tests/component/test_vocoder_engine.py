"""The vocoder engine on the embedded checkpoint: samples that do not depend on when frames arrive."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from services.common.arrays import Array
from services.common.errors import InvalidRequestError
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, ResumePoint, Session
from services.vocoder_worker.engine import VocoderEngine, load_engine
from services.vocoder_worker.settings import VocoderWorkerSettings
from tests.system.conftest import MODEL_DIR

NUM_FRAMES = 150
BORDERS = (0, 30, 70, 71, NUM_FRAMES)
POLICY = Policy(vocoder_context_frames=24)


@pytest.fixture(scope="module")
def engine() -> VocoderEngine:
    return load_engine(VocoderWorkerSettings(model_dir=MODEL_DIR))


@pytest.fixture(scope="module")
def mel(engine: VocoderEngine) -> Array:
    rng = np.random.default_rng(3)
    return (-4 + rng.standard_normal((NUM_FRAMES, engine.spec.takes.mel_bins))).astype(np.float32)


def vocode(
    engine: VocoderEngine,
    mel: Array,
    *,
    is_together: bool = False,
    policy: Policy = POLICY,
    borders: tuple[int, ...] = BORDERS,
    resume: ResumePoint | None = None,
) -> tuple[Array, list[int]]:
    """Send the frames chunk by chunk, stepping after each or only after the last; give PCM and starts."""
    session = Session("u", 1, policy, {}, {}, {}, resume=resume)
    engine.open(session)
    chunks: list[Chunk] = []
    for first, stop in pairwise(borders):
        engine.push(session, Chunk(0, first, {"mel": mel[first:stop]}, is_segment_end=stop == NUM_FRAMES))
        while (not is_together or stop == NUM_FRAMES) and engine.is_ready(session):
            [(_, output)] = engine.step([session])
            assert isinstance(output, Chunk)
            chunks.append(output)
    engine.close(session)
    assert chunks[-1].is_segment_end
    return np.concatenate([chunk.tensors["pcm"] for chunk in chunks]), [chunk.start for chunk in chunks]


def test_samples_do_not_depend_on_when_frames_arrive(engine: VocoderEngine, mel: Array) -> None:
    apart, together = vocode(engine, mel), vocode(engine, mel, is_together=True)

    assert np.array_equal(apart[0], together[0])
    assert apart[1] == together[1]
    assert len(apart[1]) == 4


def test_streamed_equals_whole_within_one_step(engine: VocoderEngine, mel: Array) -> None:
    streamed, _ = vocode(engine, mel)
    whole, starts = vocode(engine, mel, policy=replace(POLICY, is_whole=True))

    assert starts == [0]
    assert len(streamed) == len(whole) == NUM_FRAMES * 256
    assert np.abs(streamed.astype(int) - whole).max() <= 1
    assert whole.std() > 30


def test_a_resumed_segment_goes_on_exactly(engine: VocoderEngine, mel: Array) -> None:
    whole, starts = vocode(engine, mel)
    next_frame = starts[2] // 256
    resume = ResumePoint(0, starts[2], {})
    session = Session("u", 1, POLICY, {}, {}, {}, resume=resume)
    first = engine.first_start(resume, session)
    rest, rest_starts = vocode(engine, mel, resume=resume, borders=(first, 71, NUM_FRAMES))

    assert first == next_frame - POLICY.vocoder_context_frames
    assert rest_starts == starts[2:]
    assert np.array_equal(rest, whole[starts[2] :])


def test_frames_that_are_no_numbers_are_refused(engine: VocoderEngine, mel: Array) -> None:
    session = Session("u", 1, POLICY, {}, {}, {})
    engine.open(session)
    with pytest.raises(InvalidRequestError, match="finite"):
        engine.push(session, Chunk(0, 0, {"mel": np.full_like(mel, np.nan)}))
    engine.close(session)
