"""The vocoder engine on the embedded checkpoint: samples that do not depend on when frames arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.arrays import Array
from services.common.checkpoint import load_config
from services.common.errors import InvalidRequestError
from services.common.indextts2 import slowest_frames, streaming_policies
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, ResumePoint, Session
from services.vocoder_worker.engine import VocoderEngine, load_engine
from services.vocoder_worker.model.footprint import longest_call
from services.vocoder_worker.model.stream import LONGEST_PIECE, Vocoder, Window, piece_stop
from services.vocoder_worker.settings import VocoderWorkerSettings
from tests.system.conftest import MODEL_DIR

NUM_FRAMES = 140
BORDERS = (0, 30, 70, 71, NUM_FRAMES)
POLICY = Policy(vocoder_context_frames=24, vocoder_look_ahead_frames=24)
HOP = 256


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
        engine.push(session, Chunk(0, first, {"mel": mel[first:stop]}, is_segment_end=stop == borders[-1]))
        while (not is_together or stop == borders[-1]) and engine.is_ready(session):
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
    assert len(streamed) == len(whole) == NUM_FRAMES * HOP
    assert np.abs(streamed.astype(int) - whole).max() <= 1
    assert whole.std() > 30


@pytest.mark.parametrize("look_ahead", [0, 8, 24])
def test_samples_leave_as_soon_as_their_look_ahead_is_there(engine: VocoderEngine, mel: Array, look_ahead: int) -> None:
    """Of 30 frames 30 - look_ahead become sound, whatever the left context is."""
    for context in (0, 24):
        policy = replace(POLICY, vocoder_context_frames=context, vocoder_look_ahead_frames=look_ahead)
        pcm, starts = vocode(engine, mel, policy=policy)

        assert len(pcm) == NUM_FRAMES * HOP
        assert starts == [0, *((border - look_ahead) * HOP for border in BORDERS[1:-1])]


def test_less_look_ahead_is_heard_and_less_context_too(engine: VocoderEngine, mel: Array) -> None:
    exact, _ = vocode(engine, mel)
    for policy in (replace(POLICY, vocoder_look_ahead_frames=2), replace(POLICY, vocoder_context_frames=2)):
        other, _ = vocode(engine, mel, policy=policy)
        assert np.abs(other.astype(int) - exact).max() > 33


@settings(deadline=None, max_examples=15)
@given(st.data(), st.integers(0, 30), st.integers(0, 30))
def test_whatever_the_chunks_no_sample_is_lost_or_moved(
    engine: VocoderEngine, mel: Array, data: st.DataObject, context: int, look_ahead: int
) -> None:
    """With enough context they are those of the whole; and they never depend on when the frames came."""
    inner = data.draw(st.sets(st.integers(1, NUM_FRAMES - 1), max_size=4))
    borders = (0, *sorted(inner), NUM_FRAMES)
    policy = replace(POLICY, vocoder_context_frames=context, vocoder_look_ahead_frames=look_ahead)

    apart, starts = vocode(engine, mel, policy=policy, borders=borders)
    together, _ = vocode(engine, mel, policy=policy, borders=borders, is_together=True)

    assert len(apart) == NUM_FRAMES * HOP
    assert starts == sorted(starts)
    assert np.array_equal(apart, together)
    if min(context, look_ahead) >= 20:
        whole, _ = vocode(engine, mel, policy=replace(POLICY, is_whole=True))
        assert np.abs(apart.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("look_ahead", [0, 8, 24])
def test_a_resumed_segment_goes_on_exactly(engine: VocoderEngine, mel: Array, look_ahead: int) -> None:
    policy = replace(POLICY, vocoder_look_ahead_frames=look_ahead)
    whole, starts = vocode(engine, mel, policy=policy)
    next_frame = starts[2] // HOP
    resume = ResumePoint(0, starts[2], {})
    session = Session("u", 1, policy, {}, {}, {}, resume=resume)
    first = engine.first_start(resume, session)
    rest, rest_starts = vocode(engine, mel, policy=policy, resume=resume, borders=(first, 71, NUM_FRAMES))

    assert first == next_frame - POLICY.vocoder_context_frames
    assert rest_starts == starts[2:]
    assert np.array_equal(rest, whole[starts[2] :])


def test_a_step_of_many_sessions_gives_each_its_own_samples(engine: VocoderEngine, mel: Array) -> None:
    """Bit for bit those of a step alone: a CPU computes windows one by one."""
    assert engine.batch_limit == 1
    sessions = [Session(str(number), 1, POLICY, {}, {}, {}) for number in range(3)]
    mels = [mel[:90], mel[::-1][:90].copy(), mel[:60]]
    for session, frames in zip(sessions, mels, strict=True):
        engine.open(session)
        engine.push(session, Chunk(0, 0, {"mel": frames}, is_segment_end=True))
    outputs = engine.step(sessions)
    for session in sessions:
        engine.close(session)

    assert [session for session, _ in outputs] == sessions
    for (_, output), frames in zip(outputs, mels, strict=True):
        assert isinstance(output, Chunk)
        alone = Session("alone", 1, POLICY, {}, {}, {})
        engine.open(alone)
        engine.push(alone, Chunk(0, 0, {"mel": frames}, is_segment_end=True))
        [(_, expected)] = engine.step([alone])
        engine.close(alone)
        assert isinstance(expected, Chunk)
        assert np.array_equal(output.tensors["pcm"], expected.tensors["pcm"])
        assert output.is_segment_end


@pytest.mark.parametrize("resumed_at", [None, 0, 1])
def test_a_long_window_is_made_in_pieces_that_are_heard_nowhere(
    engine: VocoderEngine, mel: Array, resumed_at: int | None
) -> None:
    """Another utterance waits for a piece at most; with the window's own frames behind it a piece is exact."""
    policy = replace(POLICY, vocoder_context_frames=20, vocoder_look_ahead_frames=0)
    whole, _ = vocode(engine, mel, policy=replace(POLICY, is_whole=True))
    pcm, starts = vocode(engine, mel, policy=policy, borders=(0, NUM_FRAMES))

    assert starts == [0, NUM_FRAMES // 2 * HOP]
    assert np.abs(pcm.astype(int) - whole).max() <= 1
    if resumed_at is not None:
        resume = ResumePoint(0, starts[resumed_at], {})
        first = max(0, starts[resumed_at] // HOP - 20)
        rest, rest_starts = vocode(engine, mel, policy=policy, resume=resume, borders=(first, NUM_FRAMES))
        assert rest_starts == starts[resumed_at:]
        assert np.array_equal(rest, pcm[starts[resumed_at] :])


@pytest.mark.parametrize("size", [1, 6, 100, 1000])
def test_no_call_is_longer_than_what_memory_is_counted_for(
    engine: VocoderEngine, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the slowest speech, with the last window longer by its look-ahead."""
    calls: list[int] = []

    def noting(vocoder: Vocoder, windows: Sequence[Window]) -> list[Array]:
        calls.extend(len(window.mel) for window in windows)
        return [np.zeros((window.stop - window.first) * HOP, np.int16) for window in windows]

    monkeypatch.setattr("services.vocoder_worker.engine.vocode", noting)
    config = load_config(Path(MODEL_DIR))
    for name, policy in config.triptych.policies.items():
        only = config.triptych.model_copy(
            update={"policies": {name: policy.model_copy(update={"max_window_codes": size})}}
        )
        limited = config.model_copy(update={"triptych": only})
        [streamed] = streaming_policies(limited)
        window = slowest_frames(size)
        borders = (0, window, 2 * window, 3 * window + slowest_frames(streamed.look_ahead_codes))
        still = np.zeros((borders[-1], engine.spec.takes.mel_bins), np.float32)
        calls.clear()
        vocode(engine, still, policy=streamed, borders=borders)
        assert max(calls) <= longest_call(limited), name


@given(st.integers(0, 10_000), st.integers(1, 2000))
def test_pieces_are_alike_and_the_same_wherever_one_begins(first: int, length: int) -> None:
    stops = [first]
    while stops[-1] < first + length:
        stops.append(piece_stop(stops[-1], first + length))
    lengths = [stop - start for start, stop in pairwise(stops)]
    assert sum(lengths) == length
    assert max(lengths) <= LONGEST_PIECE
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-length // LONGEST_PIECE)


def test_frames_that_are_no_numbers_are_refused(engine: VocoderEngine, mel: Array) -> None:
    session = Session("u", 1, POLICY, {}, {}, {})
    engine.open(session)
    with pytest.raises(InvalidRequestError, match="finite"):
        engine.push(session, Chunk(0, 0, {"mel": np.full_like(mel, np.nan)}))
    engine.close(session)
