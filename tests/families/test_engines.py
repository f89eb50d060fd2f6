"""The families' engines by themselves: what they give must not depend on batch, pieces or who goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from tests.families import chime, duet
from tests.families.character_text import ids_of
from tests.families.chime import ChimeEngine
from tests.families.duet import CodecEngine, TalkerEngine
from tests.families.walking_engine import WalkingEngine

IDS = np.asarray(ids_of("a long way home."))
CODES = np.arange(2 * 11, dtype=np.int32).reshape(11, 2)
VOICE: Tensors = {"prompt": np.arange(16, dtype=np.uint8), "loudness": np.asarray([0.2], np.float32)}
GIVEN: dict[type[WalkingEngine], Array] = {
    ChimeEngine: IDS,
    TalkerEngine: IDS.astype(np.int32),
    CodecEngine: CODES,
}
ENGINES: list[Callable[[], WalkingEngine]] = [ChimeEngine, TalkerEngine, CodecEngine]
anyone = pytest.mark.parametrize("make_engine", ENGINES)


def opened(
    engine: WalkingEngine,
    *,
    seed: int = 1,
    is_whole: bool = False,
    resume: ResumePoint | None = None,
    params: Mapping[str, float] | None = None,
    speaker: str = "",
    instruction: str = "",
    language: str = "",
) -> Session:
    """A session of the engine, as the servicer makes one."""
    session = Session(
        utterance_id="u",
        seed=seed,
        policy=replace(engine.spec.default_policy, is_whole=is_whole),
        params={param.name: param.default for param in engine.spec.params} | dict(params or {}),
        options={},
        voice={spec.name: VOICE[spec.name] for spec in engine.spec.conditions},
        resume=resume,
        speaker=speaker,
        instruction=instruction,
        language=language,
    )
    engine.open(session)
    return session


def give(engine: WalkingEngine, session: Session, items: Array, *, start: int = 0, is_end: bool = True) -> None:
    name = engine.spec.takes.tensors[0].name
    engine.push(session, Chunk(0, start, {name: items}, is_segment_end=is_end))


def take(engine: WalkingEngine, *sessions: Session) -> dict[Session, list[Chunk]]:
    """Step until nothing is ready; all who are ready share a step."""
    made: dict[Session, list[Chunk]] = {session: [] for session in sessions}
    while ready := [session for session in sessions if engine.is_ready(session)]:
        for session, chunk in engine.step(ready):
            assert isinstance(chunk, Chunk)
            made[session].append(chunk)
    return made


def joined(engine: WalkingEngine, chunks: list[Chunk]) -> Array:
    """What the chunks hold, which must be without gaps and end with their segment."""
    assert [chunk.is_segment_end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    ends = [chunk.start + chunk.length for chunk in chunks]
    assert [chunk.start for chunk in chunks[1:]] == ends[:-1]
    return np.concatenate([chunk.tensors[engine.spec.gives.tensors[0].name] for chunk in chunks])


def made_of(engine: WalkingEngine, items: Array | None = None, **fields: Any) -> Array:
    session = opened(engine, **fields)
    give(engine, session, GIVEN[type(engine)] if items is None else items)
    return joined(engine, take(engine, session)[session])


@anyone
def test_every_item_becomes_exactly_so_many_and_none_are_silent(make_engine: Callable[[], WalkingEngine]) -> None:
    engine = make_engine()
    made = made_of(engine)
    each = {ChimeEngine: 480, TalkerEngine: 1, CodecEngine: 1920}[type(engine)]

    assert len(made) == len(GIVEN[type(engine)]) * each
    assert made.dtype.name == engine.spec.gives.tensors[0].dtype
    assert made.std() > 1e-3


@anyone
def test_pieces_are_the_whole(make_engine: Callable[[], WalkingEngine]) -> None:
    engine = make_engine()

    np.testing.assert_allclose(made_of(engine), made_of(engine, is_whole=True), atol=1e-6)


@anyone
def test_batch_mates_change_nothing(make_engine: Callable[[], WalkingEngine]) -> None:
    engine, items = make_engine(), GIVEN[make_engine]  # type: ignore[index]
    one, other = opened(engine), opened(engine, seed=2)
    give(engine, one, items)
    give(engine, other, items[:3])
    made = take(engine, one, other)

    np.testing.assert_array_equal(joined(engine, made[one]), made_of(engine))
    np.testing.assert_array_equal(joined(engine, made[other]), made_of(engine, items[:3], seed=2))


@anyone
def test_another_worker_goes_on_where_one_was_lost(make_engine: Callable[[], WalkingEngine]) -> None:
    engine, items = make_engine(), GIVEN[make_engine]  # type: ignore[index]
    whole = made_of(engine)
    at = 7 * len(whole) // len(items)
    resume = ResumePoint(0, at, {})
    session = opened(make_engine(), resume=resume)
    another = make_engine()
    another.open(session)
    first = another.first_start(resume, session)
    give(another, session, items[first:], start=first)
    chunks = take(another, session)[session]

    assert chunks[0].start == at
    np.testing.assert_allclose(joined(another, chunks), whole[at:], atol=1e-6)


@pytest.mark.parametrize("make_engine", [ChimeEngine, CodecEngine])
def test_nobody_goes_on_in_the_middle_of_an_item(make_engine: Callable[[], WalkingEngine]) -> None:
    engine = make_engine()
    session = opened(engine)

    with pytest.raises(InvalidRequestError, match="multiples of"):
        engine.first_start(ResumePoint(0, 100, {}), session)


@anyone
def test_cancelled_segment_ends_at_once(make_engine: Callable[[], WalkingEngine]) -> None:
    engine = make_engine()
    session = opened(engine)
    give(engine, session, GIVEN[type(engine)])
    [(_, first)] = engine.step([session])
    last = engine.cancel_segment(session, 0)

    assert isinstance(first, Chunk)
    assert last is not None
    assert (last.start, last.length, last.finish_reason) == (first.length, 0, FinishReason.CANCELLED)
    assert not engine.is_ready(session)
    assert engine.cancel_segment(session, 0) is None


@anyone
def test_ids_outside_of_the_vocabulary_are_refused(make_engine: Callable[[], WalkingEngine]) -> None:
    engine = make_engine()
    session = opened(engine)

    with pytest.raises(InvalidRequestError, match="an id is not one of"):
        give(engine, session, GIVEN[type(engine)] + 1000)


def test_speaker_and_speed_change_the_chime() -> None:
    engine = ChimeEngine()

    assert np.abs(made_of(engine, speaker="alto") - made_of(engine, speaker="bass")).max() > 0.1
    np.testing.assert_array_equal(made_of(engine), made_of(engine, speaker="alto"))
    fast = made_of(engine, params={"speed": 1.6})
    assert len(fast) == len(IDS) * chime.samples_per_id(1.6) == len(IDS) * 300


@pytest.mark.parametrize("change", [{"seed": 2}, {"instruction": "softly"}, {"language": "de"}])
def test_each_part_of_a_request_changes_the_codes(change: dict[str, Any]) -> None:
    engine = TalkerEngine()

    assert (made_of(engine) != made_of(engine, **change)).mean() > 0.5


def test_both_codebooks_are_heard() -> None:
    engine = CodecEngine()
    for book in range(duet.BOOKS):
        other = CODES.copy()
        other[:, book] += 1
        assert (made_of(engine) != made_of(engine, other)).mean() > 0.5


@pytest.mark.parametrize(
    ("max_codes", "reason"), [(5, FinishReason.MAX_CODES), (len(IDS), FinishReason.STOP), (99, FinishReason.STOP)]
)
def test_codes_stop_at_the_limit_and_say_so(max_codes: int, reason: FinishReason) -> None:
    engine = TalkerEngine()
    session = opened(engine, params={"max_codes": max_codes})
    give(engine, session, GIVEN[TalkerEngine])
    chunks = take(engine, session)[session]

    assert len(joined(engine, chunks)) == min(max_codes, len(IDS))
    assert chunks[-1].finish_reason is reason


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, len(CODES) - 1)))
def test_codecs_windows_do_not_depend_on_how_codes_come(cuts: set[int]) -> None:
    engine = CodecEngine()
    session = opened(engine)
    chunks = []
    for start, stop in pairwise([0, *sorted(cuts), len(CODES)]):
        give(engine, session, CODES[start:stop], start=start, is_end=stop == len(CODES))
        chunks += take(engine, session)[session]

    assert [chunk.length for chunk in chunks] == [4 * 1920, 4 * 1920, 3 * 1920]
    np.testing.assert_array_equal(joined(engine, chunks), made_of(engine))
