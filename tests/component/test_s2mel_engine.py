"""The S2Mel engine on the embedded checkpoint: windows that depend on nothing but policy and codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.common.arrays import Array, Tensors
from services.common.cuda_graphs import Compute, GraphCapture
from services.common.errors import InvalidRequestError
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.s2mel_worker.engine import S2MelEngine, load_engine
from services.s2mel_worker.model.render import Prompt, cut_prompt
from services.s2mel_worker.model.stepping import Batched
from services.s2mel_worker.model.windows import all_windows, frames_of
from services.s2mel_worker.settings import S2MelWorkerSettings
from tests.system.conftest import MODEL_DIR

NUM_CODES = 90
POLICY = Policy(
    first_window_codes=15,
    window_growth=1.5,
    max_window_codes=30,
    look_ahead_codes=8,
    prefix_codes=10,
    prompt_seconds=0.5,
)
FADED = replace(POLICY, crossfade_frames=6)


@pytest.fixture(scope="module")
def engine() -> S2MelEngine:
    return load_engine(S2MelWorkerSettings(model_dir=MODEL_DIR))


@pytest.fixture(scope="module")
def voice(engine: S2MelEngine) -> Tensors:
    rng = np.random.default_rng(1)
    seconds, width = 1, engine._stage.config.semantic_encoder.hidden_size
    return engine.encode_voice(
        "prompt",
        {
            "audio_22050": (0.1 * rng.standard_normal(22050 * seconds)).astype(np.float32),
            "audio_16k": (0.1 * rng.standard_normal(16000 * seconds)).astype(np.float32),
            "spk_cond": rng.standard_normal((49 * seconds, width)).astype(np.float32),
        },
    )


@pytest.fixture(scope="module")
def codes(engine: S2MelEngine) -> Tensors:
    rng = np.random.default_rng(2)
    return {
        "codes": rng.integers(0, engine.spec.takes.vocabulary, NUM_CODES).astype(np.int32),
        "latents": rng.standard_normal((NUM_CODES, engine.spec.takes.latent_width)).astype(np.float32),
    }


def session(
    engine: S2MelEngine,
    voice: Tensors,
    *,
    policy: Policy = POLICY,
    seed: int = 7,
    resume: ResumePoint | None = None,
    **params: float,
) -> Session:
    defaults = {param.name: param.default for param in engine.spec.params}
    return Session("u", seed, policy, defaults | {"steps": 2} | params, {}, voice, resume=resume)


def chunks_of(engine: S2MelEngine, each: Session) -> list[Chunk]:
    """Step until the session waits; most steps give nothing."""
    chunks: list[Chunk] = []
    while engine.is_ready(each):
        for _, output in engine.step([each]):
            assert isinstance(output, Chunk)
            chunks.append(output)
    return chunks


def render(
    engine: S2MelEngine, each: Session, codes: Tensors, *, piece: int = NUM_CODES
) -> tuple[Array, list[int], Chunk]:
    """Send codes in pieces, as a resumed stream would where the session says so; give mel, starts and last chunk."""
    engine.open(each)
    start = engine.first_start(each.resume, each) if each.resume else 0
    chunks: list[Chunk] = []
    for first in range(start, NUM_CODES, piece):
        stop = min(first + piece, NUM_CODES)
        tensors = {name: array[first:stop] for name, array in codes.items()}
        engine.push(each, Chunk(0, first, tensors, is_segment_end=stop == NUM_CODES))
        chunks += chunks_of(engine, each)
    engine.close(each)
    return np.concatenate([chunk.tensors["mel"] for chunk in chunks]), [c.start for c in chunks], chunks[-1]


def test_borders_and_frames_do_not_depend_on_arrival(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    whole, starts, last = render(engine, session(engine, voice), codes)
    for piece in (1, 7):
        mel, other_starts, _ = render(engine, session(engine, voice), codes, piece=piece)
        assert np.array_equal(mel, whole)
        assert other_starts == starts

    assert starts == [window.first_frame for window in all_windows(POLICY, NUM_CODES)]
    assert len(whole) == frames_of(NUM_CODES)
    assert last.is_segment_end
    assert whole.std() > 1e-3


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.7])
def test_the_factor_scales_the_segment_streamed_and_whole(
    engine: S2MelEngine, voice: Tensors, codes: Tensors, factor: float
) -> None:
    streamed, starts, last = render(engine, session(engine, voice, duration_factor=factor), codes, piece=7)
    whole = replace(POLICY, is_whole=True)
    rendered, _, _ = render(engine, session(engine, voice, policy=whole, duration_factor=factor), codes)
    published, _, _ = render(engine, session(engine, voice, policy=whole, duration_factor=factor, compat=1), codes)

    assert starts == [window.first_frame for window in all_windows(POLICY, NUM_CODES, factor)]
    assert len(streamed) == len(rendered) == len(published) == frames_of(NUM_CODES, factor)
    assert abs(len(streamed) / frames_of(NUM_CODES) - factor) < 2 / frames_of(NUM_CODES)
    assert last.is_segment_end
    assert streamed.std() > 1e-3


def test_windows_of_one_code_may_own_no_frame(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    """At twice the rate a code owns 0.86 frames."""
    tiny = Policy(first_window_codes=1, window_growth=1, max_window_codes=1, look_ahead_codes=2, prefix_codes=3)
    few = {name: array[:6] for name, array in codes.items()}
    each = session(engine, voice, policy=tiny, duration_factor=0.5)
    engine.open(each)
    engine.push(each, Chunk(0, 0, few, is_segment_end=True, finish_reason=FinishReason.STOP))
    chunks = chunks_of(engine, each)
    engine.close(each)

    assert chunks[0].length == 0
    assert sum(chunk.length for chunk in chunks) == frames_of(6, 0.5) == 5
    assert [chunk.is_segment_end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@pytest.mark.parametrize("compat", [0, 1])
def test_a_segment_may_own_no_frame_at_all(engine: S2MelEngine, voice: Tensors, codes: Tensors, compat: int) -> None:
    each = session(engine, voice, duration_factor=0.5, compat=compat)
    engine.open(each)
    engine.push(each, Chunk(0, 0, {name: array[:1] for name, array in codes.items()}, is_segment_end=True))
    [(_, output)] = engine.step([each])
    engine.close(each)

    assert isinstance(output, Chunk)
    assert output.is_segment_end
    assert output.length == 0


def test_a_step_is_one_step_of_the_flow(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    each = session(engine, voice, policy=replace(POLICY, is_whole=True), steps=5)
    engine.open(each)
    engine.push(each, Chunk(0, 0, codes, is_segment_end=True))
    assert [len(engine.step([each])) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert not engine.is_ready(each)
    engine.close(each)


def test_sessions_at_different_steps_give_what_each_gives_alone(
    engine: S2MelEngine, voice: Tensors, codes: Tensors
) -> None:
    """Bit for bit on the CPU: a long render and a first window that comes in between."""
    long, short = session(engine, voice, policy=replace(POLICY, is_whole=True), steps=4), session(engine, voice, seed=3)
    expected = [render(engine, each, codes)[0] for each in (long, short)]
    made: dict[Session, list[Array]] = {long: [], short: []}
    engine.open(long)
    engine.push(long, Chunk(0, 0, codes, is_segment_end=True))
    assert engine.step([long]) == []
    engine.open(short)
    engine.push(short, Chunk(0, 0, codes, is_segment_end=True))
    while ready := [each for each in (short, long) if engine.is_ready(each)]:
        for each, output in engine.step(ready):
            assert isinstance(output, Chunk)
            made[each].append(output.tensors["mel"])
    engine.close(long)
    engine.close(short)
    assert all(np.array_equal(np.concatenate(mels), mel) for mels, mel in zip(made.values(), expected, strict=True))


def test_batches_give_the_mel_of_single_renders(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    """The way of a GPU, on the CPU: sessions of different prompts, strengths and lengths in padded batches."""
    batched = S2MelEngine(engine._stage, engine.spec, Batched(engine._stage.velocity, GraphCapture(engine.device)))
    different = {
        "long": {"policy": replace(POLICY, is_whole=True)},
        "unguided": {"cfg_rate": 0.0},
        "solver": {"steps": 3, "sway": -0.5, "solver_order": 2},
        "guidance": {"steps": 4, "guidance_interval": 2},
        "prompt": {"policy": replace(POLICY, prompt_seconds=0.9)},
    }
    sessions = {what: session(batched, voice, **options) for what, options in different.items()}  # type: ignore[arg-type]
    made: dict[Session, list[Array]] = {each: [] for each in sessions.values()}
    for each in made:
        batched.open(each)
        batched.push(each, Chunk(0, 0, codes, is_segment_end=True))
    while ready := [each for each in made if batched.is_ready(each)]:
        for each, output in batched.step(ready):
            assert isinstance(output, Chunk)
            made[each].append(output.tensors["mel"])
    assert batched.batch_limit > engine.batch_limit == 1
    for what, each in sessions.items():
        expected, _, _ = render(engine, session(engine, voice, **different[what]), codes)  # type: ignore[arg-type]
        np.testing.assert_allclose(np.concatenate(made[each]), expected, atol=2e-3, err_msg=what)


def test_warming_up_a_gpu_meets_the_shapes_of_every_policy(engine: S2MelEngine) -> None:
    """With policies as small as the test: each window's shape is captured before the first caller comes."""
    captured: list[Compute] = []

    class Capturing(GraphCapture):
        def __call__(self, compute: Compute) -> Compute:
            captured.append(compute)
            return compute

    spec = replace(engine.spec, policies=(POLICY, replace(POLICY, name="other", prompt_seconds=1.5)))
    S2MelEngine(engine._stage, spec, Batched(engine._stage.velocity, Capturing(engine.device))).warm_up()
    assert len(captured) >= 4


def test_memory_is_given_up_in_the_middle_of_a_render_without_a_trace(
    engine: S2MelEngine, voice: Tensors, codes: Tensors
) -> None:
    expected, _, _ = render(engine, session(engine, voice), codes)
    each, mels = session(engine, voice), list[Array]()
    each.voice_hash = "v"
    engine.open(each)
    engine.push(each, Chunk(0, 0, codes, is_segment_end=True))
    while engine.is_ready(each):
        engine.free_memory()
        for _, output in engine.step([each]):
            assert isinstance(output, Chunk)
            mels.append(output.tensors["mel"])
    engine.close(each)

    assert np.array_equal(np.concatenate(mels), expected)


def test_a_window_can_be_given_up_between_two_of_its_steps(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    each = session(engine, voice, steps=5)
    engine.open(each)
    engine.push(each, Chunk(0, 0, codes))
    assert engine.step([each]) == []
    last = engine.cancel_segment(each, 0)
    assert last is not None
    assert (last.start, last.length, last.finish_reason) == (0, 0, FinishReason.CANCELLED)
    assert not engine.is_ready(each)
    engine.push(each, Chunk(1, 0, codes, is_segment_end=True))
    mel = np.concatenate([chunk.tensors["mel"] for chunk in chunks_of(engine, each)])
    assert len(mel) == frames_of(NUM_CODES)
    engine.close(each)
    assert each not in engine._states


def test_a_crossfade_blends_what_two_windows_rendered(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    """The first window stays; the second differs where it is blended, and all later ones by what they saw."""
    plain, starts, _ = render(engine, session(engine, voice), codes)
    blended, other_starts, _ = render(engine, session(engine, voice, policy=FADED), codes)
    border, fade = starts[1], FADED.crossfade_frames
    assert other_starts == starts
    assert np.array_equal(blended[:border], plain[:border])
    assert (np.abs(blended[border : border + fade] - plain[border : border + fade]).max(axis=1) > 1e-4).all()
    assert np.array_equal(blended[border + fade : starts[2]], plain[border + fade : starts[2]])


@pytest.mark.parametrize("factor", [1.0, 0.6])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_resumed_crossfade_goes_on_exactly(
    engine: S2MelEngine, voice: Tensors, codes: Tensors, number: int, factor: float
) -> None:
    """The window before is rendered again, for its look-ahead alone: the caller needs nothing but mel and codes."""
    options = {"policy": FADED, "duration_factor": factor}
    whole, starts, _ = render(engine, session(engine, voice, **options), codes)  # type: ignore[arg-type]
    windows = all_windows(FADED, NUM_CODES, factor)
    first, before = windows[number].first_frame, windows[max(0, number - 1)]
    resume = ResumePoint(0, first, {"mel": whole[before.first_frame - before.prefix_frames : first]})
    again = session(engine, voice, resume=resume, **options)  # type: ignore[arg-type]
    rest, rest_starts, _ = render(engine, again, codes, piece=5)

    assert rest_starts == starts[number:]
    assert np.array_equal(rest, whole[first:])


def test_a_prompt_is_made_once_for_a_voice_and_length(
    engine: S2MelEngine, voice: Tensors, codes: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def counting(*arguments: Any) -> Prompt:
        made.append(arguments[2])
        return cut_prompt(*arguments)

    monkeypatch.setattr("services.s2mel_worker.prompts.cut_prompt", counting)
    long = replace(POLICY, prompt_seconds=0.8)
    for policy, voice_hash in ((POLICY, "a"), (POLICY, "a"), (long, "a"), (POLICY, "b"), (POLICY, ""), (POLICY, "")):
        each = session(engine, voice, policy=policy)
        each.voice_hash = voice_hash
        engine.open(each)
        engine.close(each)
    assert made == [0.5, 0.8, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("factor", [1.0, 0.6, 1.9])
def test_a_resumed_segment_goes_on_exactly(engine: S2MelEngine, voice: Tensors, codes: Tensors, factor: float) -> None:
    whole, starts, _ = render(engine, session(engine, voice, duration_factor=factor), codes)
    window = all_windows(POLICY, NUM_CODES, factor)[2]
    first = window.first_frame
    resume = ResumePoint(0, first, {"mel": whole[first - window.prefix_frames : first]})
    again = session(engine, voice, resume=resume, duration_factor=factor)
    rest, rest_starts, _ = render(engine, again, codes, piece=5)

    assert rest_starts == starts[2:]
    assert np.array_equal(rest, whole[first:])


def test_resuming_elsewhere_than_at_a_border_is_refused(engine: S2MelEngine, voice: Tensors) -> None:
    resume = ResumePoint(0, 3, {"mel": np.zeros((3, 80), np.float32)})
    with pytest.raises(InvalidRequestError, match="border"):
        engine.first_start(resume, session(engine, voice, resume=resume))


def test_seed_voice_policy_and_each_number_matter(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    reference, _, _ = render(engine, session(engine, voice), codes)
    changed = {
        "seed": session(engine, voice, seed=8),
        "style": session(engine, voice | {"style": -voice["style"]}),
        "prompt": session(engine, voice | {"prompt_mel": voice["prompt_mel"] + 1}),
        "steps": session(engine, voice, steps=3),
        "sway": session(engine, voice, sway=-0.5),
        "solver_order": session(engine, voice, solver_order=2),
        "cfg_rate": session(engine, voice, cfg_rate=1.3),
        "whole": session(engine, voice, policy=replace(POLICY, is_whole=True)),
        "compat": session(engine, voice, compat=1),
        "look-ahead": session(engine, voice, policy=replace(POLICY, look_ahead_codes=2)),
        "prefix": session(engine, voice, policy=replace(POLICY, prefix_codes=0)),
        "crossfade": session(engine, voice, policy=FADED),
    }
    for what, each in changed.items():
        mel, _, _ = render(engine, each, codes)
        assert len(mel) == len(reference)
        assert not np.array_equal(mel, reference), f"{what} changes nothing"


def test_a_segment_without_codes_ends_without_frames(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    each = session(engine, voice)
    engine.open(each)
    nothing = {name: array[:0] for name, array in codes.items()}
    engine.push(each, Chunk(0, 0, nothing, is_segment_end=True, finish_reason=FinishReason.STOP))
    assert engine.is_ready(each)
    [(_, output)] = engine.step([each])
    engine.close(each)

    assert isinstance(output, Chunk)
    assert output.is_segment_end
    assert output.length == 0


def test_codes_outside_the_codebook_are_refused(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    each = session(engine, voice)
    engine.open(each)
    bad = codes | {"codes": np.full(NUM_CODES, engine.spec.takes.vocabulary, np.int32)}
    with pytest.raises(InvalidRequestError, match="codes must be"):
        engine.push(each, Chunk(0, 0, bad))
    engine.close(each)


def test_voices_that_do_not_fit_are_refused(engine: S2MelEngine, voice: Tensors) -> None:
    bad = {
        "codes": voice | {"prompt_codes": np.full_like(voice["prompt_codes"], 10**6)},
        "lengths": voice | {"prompt_mel": voice["prompt_mel"][:-1]},
    }
    for what, each in bad.items():
        with pytest.raises(InvalidRequestError):
            engine.open(session(engine, each))
        assert not engine._states, what


@pytest.mark.parametrize("next_index", [1, 2**62])
def test_resuming_far_beyond_a_segment_is_refused_at_once(engine: S2MelEngine, voice: Tensors, next_index: int) -> None:
    resume = ResumePoint(0, next_index, {})
    with pytest.raises(InvalidRequestError, match="border"):
        engine.first_start(resume, session(engine, voice, resume=resume))


def test_a_segment_of_too_many_codes_is_refused(engine: S2MelEngine, voice: Tensors, codes: Tensors) -> None:
    """Also of a whole render, which lets all codes in before it gives anything."""
    each = session(engine, voice, policy=replace(POLICY, is_whole=True))
    engine.open(each)
    limit = engine._stage.config.gpt.max_mel_tokens
    for start in range(0, limit // NUM_CODES * NUM_CODES, NUM_CODES):
        engine.push(each, Chunk(0, start, codes))
    with pytest.raises(InvalidRequestError, match="more than"):
        engine.push(each, Chunk(0, limit // NUM_CODES * NUM_CODES, codes))
    engine.close(each)
