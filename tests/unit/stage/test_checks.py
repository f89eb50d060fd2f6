"""What a stage takes of an Open, from what it says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protos.tts.stages.v1 import stage_pb2
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage import checks, convert
from services.common.stage.session import Chunk, InputOrder
from services.common.stage.spec import Edge, EdgeKind, TensorSpec, VoiceMode
from tests.unit.stage.counting_engine import counting_spec

TALKATIVE = replace(
    counting_spec(),
    speakers=("anna", "bert"),
    takes_instruction=True,
    languages=("en", "zh-Hant"),
    voice_modes=(VoiceMode.NAMED, VoiceMode.REFERENCE_WITH_TRANSCRIPT),
)


def test_a_stage_gets_instruction_speaker_and_language() -> None:
    opening = stage_pb2.Open(instruction="whisper", speaker="bert", language="zh-hant", params={"factor": 3})
    session = convert.session_from_open(opening, TALKATIVE, time_left_seconds=None)

    assert (session.instruction, session.speaker, session.language) == ("whisper", "bert", "zh-hant")
    assert session.params == {"factor": 3}


def test_what_is_left_out_is_empty_and_params_have_their_defaults() -> None:
    session = convert.session_from_open(stage_pb2.Open(), TALKATIVE, time_left_seconds=None)

    assert (session.instruction, session.speaker, session.language) == ("", "", "")
    assert session.params == {"factor": 2}


def test_describe_says_all_of_it() -> None:
    answer = convert.spec_to_proto(TALKATIVE, worker="w")

    assert list(answer.voice_modes) == [stage_pb2.VOICE_MODE_NAMED, stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT]
    assert list(answer.speakers) == ["anna", "bert"]
    assert answer.takes_instruction
    assert answer.option_steps[0] == stage_pb2.VoiceStep(
        name="emotion_text", takes=["emotion_text"], gives=["length"], max_audio_seconds=15
    )


@pytest.mark.parametrize(
    ("fields", "reason", "allowed"),
    [
        ({"speaker": "carl"}, Reason.OUT_OF_RANGE, "anna, bert"),
        ({"language": "zh"}, Reason.LANGUAGE_NOT_SUPPORTED, "en, zh-Hant"),
        ({"params": {"speed": 1}}, Reason.CAPABILITY_MISSING, "factor"),
        ({"params": {"factor": 0}}, Reason.OUT_OF_RANGE, "1 to 10"),
    ],
    ids=["speaker", "language", "parameter", "value"],
)
def test_a_refusal_says_what_is_allowed(fields: dict[str, object], reason: Reason, allowed: str) -> None:
    with pytest.raises(InvalidRequestError, match=allowed) as refused:
        convert.session_from_open(stage_pb2.Open(**fields), TALKATIVE, time_left_seconds=None)  # type: ignore[arg-type]

    assert refused.value.reason is reason


def test_the_capability_is_named_where_the_stage_has_none() -> None:
    plain = counting_spec()
    for check, capability in ((checks.check_instruction, "instruction"), (checks.check_speaker, "speaker")):
        with pytest.raises(InvalidRequestError) as refused:
            check("something", plain)

        assert refused.value.reason is Reason.CAPABILITY_MISSING
        assert refused.value.metadata == {"capability": capability}
        assert "something" not in refused.value.message


def test_a_stage_that_names_no_language_takes_any() -> None:
    checks.check_language("sw", replace(TALKATIVE, languages=()))


FOUR_CODEBOOKS = Edge(
    EdgeKind.TOKENS,
    (TensorSpec("codes", "int32", (-1, 4)), TensorSpec("latents", "float32", (-1, 3), is_optional=True)),
    codebooks=4,
)
FLOAT_PCM = Edge(EdgeKind.PCM, (TensorSpec("pcm", "float32", (-1,)),), sample_rate_hz=48000)


@pytest.mark.parametrize(
    ("edge", "tensors"),
    [
        (FOUR_CODEBOOKS, {"codes": np.zeros((5, 4), np.int32)}),
        (FOUR_CODEBOOKS, {"codes": np.zeros((5, 4), np.int32), "latents": np.zeros((5, 3), np.float32)}),
        (FLOAT_PCM, {"pcm": np.zeros(5, np.float32)}),
    ],
    ids=["codebooks", "codebooks with latents", "float PCM"],
)
def test_items_are_counted_along_the_first_axis_of_any_edge(edge: Edge, tensors: Tensors) -> None:
    order = InputOrder(edge, None, 0)
    order.check(Chunk(0, 0, tensors))
    order.check(Chunk(0, 5, tensors, is_segment_end=True))
    order.check(Chunk(1, 0, tensors))


@pytest.mark.parametrize(
    "tensors",
    [
        {"codes": np.zeros((5, 1), np.int32)},
        {"codes": np.zeros((5, 4), np.int32), "latents": np.zeros((4, 3), np.float32)},
        {"latents": np.zeros((5, 3), np.float32)},
    ],
    ids=["one codebook", "other lengths", "no codes"],
)
def test_chunks_that_do_not_fit_their_edge_are_refused(tensors: Tensors) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        InputOrder(FOUR_CODEBOOKS, None, 0).check(Chunk(0, 0, tensors))

    assert refused.value.reason is Reason.TENSOR_INVALID
