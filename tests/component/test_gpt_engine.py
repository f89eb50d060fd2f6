"""The GPT engine on the embedded checkpoint: exact alone, beside others, and when taken over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import VoiceMode
from services.gpt_worker.engine import GptEngine
from services.gpt_worker.loading import load_engine
from services.gpt_worker.model.decoding import BatchDecoder
from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.settings import GptWorkerSettings
from tests.system.conftest import MODEL_DIR

IDS = np.arange(5, 30, dtype=np.int32)
MAX_CODES = 60


@pytest.fixture(scope="module")
def engine() -> GptEngine:
    return load_engine(GptWorkerSettings(model_dir=MODEL_DIR, slots=4))


@pytest.fixture(scope="module")
def voice(engine: GptEngine) -> Tensors:
    rng = np.random.default_rng(1)
    features = engine.encode_voice("speaker_features", {"audio_22050": _noise(rng, 22050)})
    features |= engine.encode_voice("emotion_features", {"audio_16000": _noise(rng, 16000)})
    style = rng.standard_normal(192).astype(np.float32)
    return engine.encode_voice(
        "condition", {"spk_cond": features["spk_cond"], "emo_cond": features["emo_cond"], "style": style}
    )


def _noise(rng: np.random.Generator, samples: int) -> Array:
    return (0.1 * rng.standard_normal(samples)).astype(np.float32)


def session(
    engine: GptEngine,
    voice: Tensors,
    *,
    seed: int = 7,
    resume: ResumePoint | None = None,
    options: Tensors | None = None,
    codes_per_chunk: int = 5,
    voice_hash: str = "",
    **params: float,
) -> Session:
    defaults = {param.name: param.default for param in engine.spec.params}
    return Session(
        utterance_id="u",
        seed=seed,
        policy=replace(engine.spec.default_policy, codes_per_chunk=codes_per_chunk),
        params=defaults | {"max_codes": MAX_CODES} | params,
        options=options or {},
        voice=voice,
        resume=resume,
        voice_hash=voice_hash,
    )


def chunks_of(engine: GptEngine, *sessions: Session) -> list[Chunk]:
    """Decode one text in all sessions, step by step together, and give what came of the first."""
    for each in sessions:
        engine.open(each)
        engine.push(each, Chunk(0, 0, {"ids": IDS}, is_segment_end=True))
    chunks: list[Chunk] = []
    while ready := [each for each in sessions if engine.is_ready(each)]:
        for each, output in engine.step(ready):
            assert isinstance(output, Chunk)
            if each is sessions[0]:
                chunks.append(output)
    for each in sessions:
        engine.close(each)
    return chunks


def decode(engine: GptEngine, *sessions: Session) -> tuple[list[int], Array, Chunk]:
    """Codes, latents and last chunk of the first session."""
    chunks = chunks_of(engine, *sessions)
    codes = [int(code) for chunk in chunks for code in chunk.tensors["codes"]]
    return codes, np.concatenate([chunk.tensors["latents"] for chunk in chunks]), chunks[-1]


def test_codes_leave_with_their_latents(engine: GptEngine, voice: Tensors) -> None:
    codes, latents, last = decode(engine, session(engine, voice))

    assert len(codes) == len(latents) > 5
    assert last.is_segment_end
    assert latents.std() > 1e-3


@pytest.mark.parametrize("size", [1, 4, 7])
def test_codes_leave_in_groups_of_the_policy(engine: GptEngine, voice: Tensors, size: int) -> None:
    chunks = chunks_of(engine, session(engine, voice, codes_per_chunk=size, max_codes=18))
    ends = [chunk.start + chunk.length for chunk in chunks]

    assert ends[-1] == 18
    assert ends[:-1] == list(range(size, 18, size))
    assert all(len(chunk.tensors["latents"]) == chunk.length for chunk in chunks)
    assert [chunk.is_segment_end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_groups_change_when_codes_leave_and_nothing_else(engine: GptEngine, voice: Tensors) -> None:
    one, five = (decode(engine, session(engine, voice, codes_per_chunk=size)) for size in (1, 5))

    assert one[0] == five[0]
    assert np.array_equal(one[1], five[1])


def test_a_stream_that_is_taken_over_inside_a_group_keeps_the_borders(engine: GptEngine, voice: Tensors) -> None:
    whole = chunks_of(engine, session(engine, voice, max_codes=18))
    codes = np.concatenate([chunk.tensors["codes"] for chunk in whole])
    resume = ResumePoint(0, 7, {"codes": codes[:7]})
    rest = chunks_of(engine, session(engine, voice, max_codes=18, resume=resume))

    assert [(chunk.start, chunk.length) for chunk in rest] == [(7, 3), (10, 5), (15, 3)]
    assert np.array_equal(np.concatenate([chunk.tensors["codes"] for chunk in rest]), codes[7:])


def test_a_known_voice_skips_its_rows_and_gives_the_same_bits(voice: Tensors) -> None:
    """The kept keys and values are a copy of those that would be computed again."""
    engine = load_engine(GptWorkerSettings(model_dir=MODEL_DIR, slots=1, prefix_cache_mb=64))
    extend, lengths = engine._model.gpt.extend, []

    def counted(x: torch.Tensor, cache: KeyValueCache, row: int) -> torch.Tensor:
        lengths.append(len(x))
        return extend(x, cache, row)

    engine._model.gpt.extend = counted  # type: ignore[method-assign]
    first = decode(engine, session(engine, voice, voice_hash="v"))
    computed, lengths[:] = list(lengths), []
    again = decode(engine, session(engine, voice, voice_hash="v"))
    skipped, lengths[:] = list(lengths), []
    decode(engine, session(engine, voice, voice_hash="v", options={"emotion_vector": np.array([0.9] + [0.0] * 7)}))

    assert skipped == computed[1:]
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])
    assert lengths[0] == computed[0], "another emotion has rows of its own"


def test_a_prefix_is_taken_in_by_pieces_while_others_go_on(engine: GptEngine, voice: Tensors) -> None:
    running, long = session(engine, voice, codes_per_chunk=1), session(engine, voice)
    for each, ids in ((running, IDS), (long, np.tile(IDS, 6))):
        engine.open(each)
        engine.push(each, Chunk(0, 0, {"ids": ids}, is_segment_end=True))
    while not engine.step([running]):
        pass
    given = [session for _ in range(4) for session, _ in engine.step([running, long])]
    for each in (running, long):
        engine.close(each)

    assert given == [running] * 4


def test_many_that_begin_cost_a_running_stream_one_piece_a_step(
    engine: GptEngine, voice: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the conditioning rows of voices that are new here: they begin one after another."""
    extend, lengths = engine._model.gpt.extend, list[int]()

    def counted(x: torch.Tensor, cache: KeyValueCache, row: int) -> torch.Tensor:
        lengths.append(len(x))
        return extend(x, cache, row)

    running, *new = sessions = [session(engine, voice, seed=seed, codes_per_chunk=1) for seed in range(4)]
    for each in sessions:
        engine.open(each)
        engine.push(each, Chunk(0, 0, {"ids": IDS}, is_segment_end=True))
    while not engine.step([running]):
        pass
    monkeypatch.setattr(engine._model.gpt, "extend", counted)
    given: list[Session] = []
    while not set(new) <= set(given):
        ready = [each for each in sessions if engine.is_ready(each)]
        num_running = sum(not engine.is_beginning(each) for each in ready)
        lengths.clear()
        outputs = [each for each, _ in engine.step(ready)]
        pieces = sorted(lengths)[num_running:]
        assert sorted(lengths)[:num_running] == [1] * num_running
        assert len(pieces) <= 1
        assert running in outputs
        given += outputs
    for each in sessions:
        engine.close(each)

    firsts = [given.index(each) for each in new]
    assert firsts == sorted(firsts), "in the order in which they were given"


def test_one_search_a_step(engine: GptEngine, voice: Tensors) -> None:
    beams = [session(engine, voice, seed=seed, num_beams=2, compat=1, max_codes=4) for seed in (1, 2)]
    for each in beams:
        engine.open(each)
        engine.push(each, Chunk(0, 0, {"ids": IDS}, is_segment_end=True))
    given = []
    while ready := [each for each in beams if engine.is_ready(each)]:
        given.append([each for each, _ in engine.step(ready)])
    for each in beams:
        engine.close(each)

    assert given == [[beams[0]], [beams[1]]]


def test_steps_are_prepared_for_as_many_as_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gpt_worker.engine.new_decoder", BatchDecoder)
    settings = GptWorkerSettings(model_dir=MODEL_DIR, slots=16, max_batch_size=2)

    assert load_engine(settings).batch_limit == 2


def test_memory_is_given_up_in_the_middle_of_a_segment_without_a_trace(voice: Tensors) -> None:
    engine = load_engine(GptWorkerSettings(model_dir=MODEL_DIR, slots=2, prefix_cache_mb=64))
    expected, latents, _ = decode(engine, session(engine, voice, voice_hash="v"))
    each, codes, freed = session(engine, voice, voice_hash="v", codes_per_chunk=1), list[int](), list[Array]()
    engine.open(each)
    engine.push(each, Chunk(0, 0, {"ids": IDS}, is_segment_end=True))
    while engine.is_ready(each):
        engine.free_memory()
        for _, output in engine.step([each]):
            assert isinstance(output, Chunk)
            codes += output.tensors["codes"].tolist()
            freed.append(output.tensors["latents"])
    engine.close(each)

    assert codes == expected
    assert np.array_equal(np.concatenate(freed), latents)


def test_mates_change_neither_codes_nor_latents(engine: GptEngine, voice: Tensors) -> None:
    """Bit for bit: rows are computed one by one."""
    alone = decode(engine, session(engine, voice))
    beside = decode(engine, *(session(engine, voice, seed=seed) for seed in (7, 8, 9, 10)))

    assert alone[0] == beside[0]
    assert np.array_equal(alone[1], beside[1])


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_resumed_segment_goes_on_bit_for_bit(engine: GptEngine, voice: Tensors, share: float) -> None:
    whole, latents, _ = decode(engine, session(engine, voice))
    made = max(1, int(share * len(whole)))
    state = {"codes": np.array(whole[:made], np.int32)}
    rest = decode(engine, session(engine, voice, resume=ResumePoint(0, made, state)))

    assert rest[0] == whole[made:]
    assert np.array_equal(rest[1], latents[made:])


def test_seed_voice_emotion_and_each_sampling_number_matter(engine: GptEngine, voice: Tensors) -> None:
    reference, latents, _ = decode(engine, session(engine, voice))
    other_voice = {name: array * 0.5 for name, array in voice.items()}
    vector = {"emotion_vector": np.array([0.9, 0, 0, 0, 0, 0, 0, 0])}
    emovec = {"emotion_emovec": voice["self_emovec"] + 1}
    changed = {
        "seed": session(engine, voice, seed=8),
        "voice": session(engine, other_voice),
        "emotion vector": session(engine, voice, options=vector),
        "weight": session(engine, voice, options=vector, emotion_weight=0.3),
        "normalised": session(engine, voice, options=vector, emotion_normalized=1),
        "emotion recording": session(engine, voice, options=emovec),
        "temperature": session(engine, voice, temperature=2.0),
        "top_k": session(engine, voice, top_k=1),
        "top_p": session(engine, voice, top_p=0.05),
        "repetition_penalty": session(engine, voice, repetition_penalty=5.0),
        "greedy": session(engine, voice, greedy=1),
        "compat": session(engine, voice, compat=1),
    }
    for what, each in changed.items():
        codes, other, _ = decode(engine, each)
        is_same = codes == reference and np.array_equal(other, latents)
        assert not is_same, f"{what} changes nothing"


def test_the_limit_of_codes_is_said(engine: GptEngine, voice: Tensors) -> None:
    codes, _, last = decode(engine, session(engine, voice, max_codes=5))

    assert len(codes) == 5
    assert last.finish_reason is FinishReason.MAX_CODES


def test_beams_need_the_compat_policy(engine: GptEngine, voice: Tensors) -> None:
    with pytest.raises(InvalidRequestError, match="compat") as refused:
        engine.open(session(engine, voice, num_beams=3))
    codes, latents, _ = decode(engine, session(engine, voice, num_beams=3, compat=1, max_codes=20))

    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_CONFLICT, "open.params[num_beams]")
    assert len(codes) == len(latents) > 0


def test_the_length_penalty_decides_between_short_and_long_beams(engine: GptEngine, voice: Tensors) -> None:
    def length(penalty: float) -> int:
        beams = session(
            engine, voice, num_beams=3, compat=1, max_codes=30, repetition_penalty=1.0, length_penalty=penalty
        )
        return len(decode(engine, beams)[0])

    assert length(-2.0) < length(2.0)


def test_a_published_segment_is_not_resumed_in_its_middle(engine: GptEngine, voice: Tensors) -> None:
    """Its second pass needs all codes, and none of them is out before the last."""
    resume = ResumePoint(0, 2, {"codes": np.array([1, 2], np.int32)})
    with pytest.raises(InvalidRequestError, match="first code"):
        engine.first_start(resume, session(engine, voice, resume=resume, compat=1))

    assert engine.first_start(ResumePoint(0, 0, {}), session(engine, voice, compat=1)) == 0


def test_the_stage_speaks_like_a_recording_and_takes_no_instruction(engine: GptEngine) -> None:
    assert engine.spec.voice_modes == (VoiceMode.REFERENCE,)
    assert engine.spec.speakers == ()
    assert not engine.spec.takes_instruction


def test_closing_frees_the_row(engine: GptEngine, voice: Tensors) -> None:
    """Twice as many sessions as slots, one after the other, all find a row."""
    for _ in range(2 * engine.spec.slots):
        each = session(engine, voice)
        engine.open(each)
        engine.push(each, Chunk(0, 0, {"ids": IDS}, is_segment_end=True))
        engine.step([each])
        engine.close(each)
        assert not engine.is_ready(each)


def test_a_cancelled_segment_stops_and_the_next_begins(engine: GptEngine, voice: Tensors) -> None:
    each = session(engine, voice)
    engine.open(each)
    for segment in (0, 1):
        engine.push(each, Chunk(segment, 0, {"ids": IDS}, is_segment_end=True))
    engine.step([each])
    last = engine.cancel_segment(each, 0)
    while not (outputs := engine.step([each])):
        pass
    [(_, following)] = outputs
    engine.close(each)

    assert last is not None
    assert last.finish_reason is FinishReason.CANCELLED
    assert isinstance(following, Chunk)
    assert following.segment == 1


@pytest.mark.parametrize(
    "ids", [[], [-1], [10**6], list(range(5, 10)) * 1000], ids=["none", "negative", "too large", "too many"]
)
def test_wrong_ids_are_refused(engine: GptEngine, voice: Tensors, ids: list[int]) -> None:
    each = session(engine, voice)
    engine.open(each)
    with pytest.raises(InvalidRequestError):
        engine.push(each, Chunk(0, 0, {"ids": np.array(ids, np.int32)}, is_segment_end=True))
    engine.close(each)


def test_a_state_that_leaves_nothing_to_do_is_refused(engine: GptEngine, voice: Tensors) -> None:
    resume = ResumePoint(0, 5000, {"codes": np.zeros(5000, np.int32)})
    with pytest.raises(InvalidRequestError, match="max_codes"):
        engine.first_start(resume, session(engine, voice, resume=resume))
