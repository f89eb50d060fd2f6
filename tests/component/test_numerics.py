"""The numbers that the torch engines compute in, weights from twins, and a GPU without memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.common import torch_runtime
from services.common.arrays import Tensors
from services.common.checkpoint import CheckpointError
from services.common.cuda_graphs import Compute, GraphCapture
from services.common.stage.engine import Engine
from services.common.stage.session import Chunk, ResumePoint, Session
from services.common.torch_engine import TorchEngine
from services.common.twin import write_twins
from services.gpt_worker.engine import GptEngine
from services.gpt_worker.loading import load_engine as load_gpt
from services.gpt_worker.model.decoding import BatchDecoder
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker.engine import S2MelEngine
from services.s2mel_worker.engine import load_engine as load_s2mel
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.vocoder_worker.engine import load_engine as load_vocoder
from services.vocoder_worker.settings import VocoderWorkerSettings
from tests.system.conftest import MODEL_DIR

STYLE, SEMANTIC, FRAMES = 192, 192, 49
IDS = np.arange(5, 30, dtype=np.int32)


@pytest.fixture(scope="module")
def gpt() -> GptEngine:
    return load_gpt(GptWorkerSettings(model_dir=MODEL_DIR, slots=1))


@pytest.fixture(scope="module")
def s2mel() -> S2MelEngine:
    return load_s2mel(S2MelWorkerSettings(model_dir=MODEL_DIR))


def noise(*shape: int, scale: float = 1.0) -> Any:
    return (scale * np.random.default_rng(len(shape)).standard_normal(shape)).astype(np.float32)


def gpt_voice(engine: Engine) -> Tensors:
    given = {"spk_cond": noise(FRAMES, SEMANTIC), "emo_cond": noise(FRAMES, SEMANTIC), "style": noise(STYLE)}
    return engine.encode_voice("condition", given)


def s2mel_voice(engine: Engine) -> Tensors:
    audio = {"audio_22050": noise(22050, scale=0.1), "audio_16k": noise(16000, scale=0.1)}
    return engine.encode_voice("prompt", {**audio, "spk_cond": noise(FRAMES, SEMANTIC)})


def codes_of(engine: Engine) -> Tensors:
    """40 made-up codes: one window of the embedded policy, and a second one."""
    latents = noise(40, engine.spec.takes.latent_width)
    return {"codes": np.arange(40, dtype=np.int32) * 6, "latents": latents}


def new_session(engine: Engine, voice: Tensors, params: dict[str, float], resume: ResumePoint | None = None) -> Session:
    defaults = {param.name: param.default for param in engine.spec.params}
    return Session("u", 7, engine.spec.default_policy, defaults | params, {}, voice, resume=resume)


def chunks_of(engine: Engine, session: Session, tensors: Tensors) -> list[Chunk]:
    """All that the engine gives of one segment; of a resumed one from where it is taken over."""
    start = engine.first_start(session.resume, session) if session.resume else 0
    engine.open(session)
    engine.push(session, Chunk(0, start, {name: array[start:] for name, array in tensors.items()}, is_segment_end=True))
    chunks: list[Chunk] = []
    while engine.is_ready(session):
        for _, output in engine.step([session]):
            assert isinstance(output, Chunk)
            chunks.append(output)
    engine.close(session)
    return chunks


def joined(chunks: Sequence[Chunk]) -> Tensors:
    return {name: np.concatenate([chunk.tensors[name] for chunk in chunks]) for name in chunks[0].tensors}


def run(engine: Engine, voice: Tensors, tensors: Tensors, **params: float) -> Tensors:
    """All that the engine makes of one segment."""
    return joined(chunks_of(engine, new_session(engine, voice, params), tensors))


def s2mel_in(dtype: Any) -> S2MelEngine:
    return load_s2mel(S2MelWorkerSettings(model_dir=MODEL_DIR, dtype=dtype))


def gpt_in(dtype: Any) -> GptEngine:
    return load_gpt(GptWorkerSettings(model_dir=MODEL_DIR, slots=1, dtype=dtype))


def s2mel_computing_in(dtype: str) -> TorchEngine:
    """The embedded checkpoint, loaded for another numeric mode: its weights are made short when they are loaded."""
    return TorchEngine(s2mel_in({"bfloat16": "bf16", "float16": "fp16"}[dtype]))


def gpt_computing_in(dtype: Any) -> TorchEngine:
    return TorchEngine(gpt_in(dtype))


def test_float32_passes_through_untouched(s2mel: S2MelEngine) -> None:
    voice, codes = s2mel_voice(s2mel), codes_of(s2mel)
    plain, wrapped = run(s2mel, voice, codes)["mel"], run(TorchEngine(s2mel), voice, codes)["mel"]

    assert np.array_equal(plain, wrapped)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_passes_through_untouched(dtype: str) -> None:
    """Each layer knows the type that it computes in; nothing around an engine tells it another."""
    made = []
    for inner in (gpt_in(dtype), s2mel_in(dtype)):
        is_gpt = isinstance(inner, GptEngine)
        voice = gpt_voice(inner) if is_gpt else s2mel_voice(inner)
        tensors, params = ({"ids": IDS}, {"max_codes": 20.0}) if is_gpt else (codes_of(inner), {"steps": 2.0})
        made.append([run(each, voice, tensors, **params) for each in (inner, TorchEngine(inner))])

    for plain, wrapped in made:
        assert all(np.array_equal(plain[name], wrapped[name]) for name in plain)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_a_render_sees_of_a_voice_is_float32_in_half_precision_too(s2mel: S2MelEngine, dtype: str) -> None:
    """Also the part that a policy cuts off: its condition is made from codes, when a session begins."""
    voice, half = s2mel_voice(s2mel), s2mel_computing_in(dtype)
    for engine in (TorchEngine(s2mel), half):
        engine.open(new_session(engine, voice, {}))
    full_prompt, half_prompt = (
        next(iter(engine._states.values())).prompt
        for engine in (s2mel, half._engine)
        if isinstance(engine, S2MelEngine)
    )
    s2mel._states.clear()

    assert len(full_prompt.condition) < len(voice["prompt_condition"])
    assert torch.equal(half_prompt.condition, full_prompt.condition)


def test_steps_are_captured_in_the_numbers_that_they_are_served_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured step keeps what it was captured with: scores would be rounded for as long as it is kept."""
    captured: list[bool] = []

    class Noting(GraphCapture):
        def __call__(self, compute: Compute) -> Compute:
            captured.append(torch.is_autocast_enabled("cpu"))
            return compute

    monkeypatch.setattr("services.gpt_worker.engine.new_decoder", BatchDecoder)
    monkeypatch.setattr("services.gpt_worker.model.decoding.GraphCapture", Noting)
    settings = GptWorkerSettings(model_dir=MODEL_DIR, slots=4, dtype="bf16")
    TorchEngine(load_gpt(settings)).warm_up()

    assert captured == [False, False, False]


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_codes_in_half_precision_are_taken_over_bit_for_bit(dtype: str) -> None:
    engine, other = gpt_computing_in(dtype), gpt_computing_in(dtype)
    voice, text, params = gpt_voice(engine), {"ids": IDS}, {"max_codes": 20.0}
    whole = run(engine, voice, text, **params)
    resume = ResumePoint(0, 7, {"codes": whole["codes"][:7]})
    rest = joined(chunks_of(other, new_session(other, voice, params, resume), text))

    assert len(whole["codes"]) > 7
    assert all(np.array_equal(rest[name], whole[name][7:]) for name in whole)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_frames_in_half_precision_are_taken_over_bit_for_bit(dtype: str) -> None:
    engine, other = s2mel_computing_in(dtype), s2mel_computing_in(dtype)
    voice, codes, params = s2mel_voice(engine), codes_of(engine), {"steps": 2.0}
    first, *others = chunks_of(engine, new_session(engine, voice, params), codes)
    resume = ResumePoint(0, others[0].start, first.tensors)
    rest = chunks_of(other, new_session(other, voice, params, resume), codes)

    assert np.array_equal(joined(rest)["mel"], joined(others)["mel"])


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 0.25), ("float16", 0.03)])
def test_half_precision_mel_is_close_to_float32(s2mel: S2MelEngine, dtype: str, most: float) -> None:
    """Of log mel with a standard deviation of 1.6: largest difference 0.073 in bfloat16, 0.008 in float16."""
    voice, codes = s2mel_voice(s2mel), codes_of(s2mel)
    full = run(s2mel, voice, codes, steps=4)["mel"]
    half = run(s2mel_computing_in(dtype), voice, codes, steps=4)["mel"]

    assert half.dtype == np.float32
    assert np.isfinite(half).all()
    assert half.std() > 1e-3
    assert 0 < np.abs(half - full).max() < most


@pytest.mark.parametrize("params", [{}, {"compat": 1.0}, {"compat": 1.0, "num_beams": 2.0}], ids=str)
def test_half_precision_codes_are_speech_too(gpt: GptEngine, params: dict[str, float]) -> None:
    voice, text = gpt_voice(gpt), {"ids": IDS}
    full = run(gpt, voice, text, max_codes=20, **params)
    half = run(gpt_computing_in("bf16"), voice, text, max_codes=20, **params)

    assert half["latents"].dtype == np.float32
    assert np.isfinite(half["latents"]).all()
    assert half["latents"].std() > 1e-3
    # The same, where the trunk's weights are kept as the float16 that the checkpoint holds.
    assert np.abs(half["latents"][0] - full["latents"][0]).max() < 0.1


def test_scores_are_float32_in_half_precision_too() -> None:
    """Rounded to half precision, different codes would score alike."""
    model = load_gpt(GptWorkerSettings(model_dir=MODEL_DIR, slots=1, dtype="bf16"))._model
    with torch.inference_mode():
        step = model.extend(torch.randn(3, model.dimensions.width), model.gpt.new_cache(1, 8), 0)

    assert step.logits.dtype == torch.float32
    assert not torch.equal(step.logits, step.logits.bfloat16().float())


def test_voices_are_computed_in_float32_always(s2mel: S2MelEngine) -> None:
    full, half = s2mel_voice(s2mel), s2mel_voice(s2mel_computing_in("bfloat16"))

    assert all(np.array_equal(half[name], full[name]) for name in full)


def test_all_stages_of_one_dtype_are_one_revision_and_each_says_what_it_computes_in() -> None:
    def specs(dtype: Any) -> list[Any]:
        return [
            load_gpt(GptWorkerSettings(model_dir=MODEL_DIR, slots=1, dtype=dtype)).spec,
            load_s2mel(S2MelWorkerSettings(model_dir=MODEL_DIR, dtype=dtype)).spec,
            load_vocoder(VocoderWorkerSettings(model_dir=MODEL_DIR, dtype=dtype)).spec,
        ]

    made = {dtype: specs(dtype) for dtype in ("auto", "bf16")}
    revisions = {dtype: {spec.revision for spec in stages} for dtype, stages in made.items()}

    assert [len(found) for found in revisions.values()] == [1, 1]
    assert revisions["auto"] != revisions["bf16"]
    assert [spec.device.dtype for spec in made["bf16"]] == ["bfloat16", "bfloat16", "float32"]
    assert [spec.device.dtype for spec in made["auto"]] == ["float32"] * 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(CheckpointError, match=f"device {device} is set, but torch sees no GPU"):
        torch_runtime.prepare(GptWorkerSettings(model_dir=MODEL_DIR, device=device))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint with twins instead of pickles."""
    directory = Path(shutil.copytree(MODEL_DIR, tmp_path_factory.mktemp("twins") / "mini"))
    for twin in list(write_twins(directory)):
        for suffix in (".pth", ".pt", ".bin"):
            twin.with_suffix(suffix).unlink(missing_ok=True)
    return directory


def test_codes_and_frames_are_the_same_from_twins(twins: Path, gpt: GptEngine, s2mel: S2MelEngine) -> None:
    other_gpt = load_gpt(GptWorkerSettings(model_dir=twins, slots=1))
    other_s2mel = load_s2mel(S2MelWorkerSettings(model_dir=twins))
    spoken = [run(each, gpt_voice(each), {"ids": IDS}, max_codes=20) for each in (gpt, other_gpt)]
    rendered = [run(each, s2mel_voice(each), codes_of(each), steps=2)["mel"] for each in (s2mel, other_s2mel)]

    assert len(spoken[0]["codes"]) > 5
    assert spoken[0]["codes"].tolist() == spoken[1]["codes"].tolist()
    assert np.array_equal(spoken[0]["latents"], spoken[1]["latents"])
    assert np.array_equal(rendered[0], rendered[1])


def test_twins_are_another_revision_for_all_stages_alike(twins: Path, gpt: GptEngine) -> None:
    """The vocoder takes a twin of the weights that its graph was made from."""
    stages: list[Engine] = [
        load_gpt(GptWorkerSettings(model_dir=twins, slots=1)),
        load_s2mel(S2MelWorkerSettings(model_dir=twins)),
        load_vocoder(VocoderWorkerSettings(model_dir=twins)),
    ]
    revisions = {stage.spec.revision for stage in stages}

    assert len(revisions) == 1
    assert revisions != {gpt.spec.revision}
