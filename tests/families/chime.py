"""A family of one stage: ids of characters to samples, in one small ONNX graph, in voices of its own."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from services.common.arrays import Array
from services.common.stage.policy import Policy
from services.common.stage.session import Session
from services.common.stage.spec import (
    DeviceInfo,
    Edge,
    EdgeKind,
    ParamSpec,
    StageSpec,
    TensorSpec,
    VoiceMode,
)
from tests.families.character_text import VOCABULARY
from tests.families.walking_engine import WalkingEngine

MODEL = "chime"
SAMPLE_RATE = 24_000
SAMPLES_PER_ID = 480
"""At speed 1: 20 ms."""
SPEAKERS = ("alto", "bass")
LANGUAGES = ("en",)
MAX_TOKENS = 60
WIDTH = 8
IDS_PER_STEP = 5


def chime_graph() -> bytes:
    """A model file: (ids + speaker) · basis, bent by tanh; `columns` picks the samples of each id.

    Inputs ids (n,), speaker (1,) and columns (m,), int64; output pcm (n, m), float32 in [-1, 1].
    """
    nodes = [
        helper.make_node("Gather", ["letters", "ids"], ["letter"]),
        helper.make_node("Gather", ["speakers", "speaker"], ["colour"]),
        helper.make_node("Add", ["letter", "colour"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "basis"], ["wave"]),
        helper.make_node("Tanh", ["wave"], ["bent"]),
        helper.make_node("Gather", ["bent", "columns"], ["pcm"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [size])
        for name, size in (("ids", "n"), ("speaker", 1), ("columns", "m"))
    ]
    output = helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["n", "m"])
    weights = [numpy_helper.from_array(array, name) for name, array in _weights().items()]
    graph = helper.make_graph(nodes, MODEL, inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _weights() -> dict[str, Array]:
    """Tables of letters and speakers, and tones to mix by them."""
    draw = np.random.Generator(np.random.Philox(key=1)).standard_normal
    seconds = np.arange(SAMPLES_PER_ID) / SAMPLE_RATE
    tones = np.sin(2 * np.pi * 100.0 * np.arange(1, WIDTH + 1)[:, None] * seconds)
    return {
        "letters": 0.3 * draw((VOCABULARY, WIDTH)).astype(np.float32),
        "speakers": 0.3 * draw((len(SPEAKERS), WIDTH)).astype(np.float32),
        "basis": tones.astype(np.float32),
    }


def chime_spec(revision: str, *, slots: int = 2) -> StageSpec:
    return StageSpec(
        stage="chime",
        model=MODEL,
        revision=revision,
        takes=Edge(EdgeKind.TEXT, (TensorSpec("ids", "int64", (-1,)),), vocabulary=VOCABULARY),
        gives=Edge(
            EdgeKind.PCM,
            (TensorSpec("pcm", "float32", (-1,)),),
            rate_numerator=SAMPLE_RATE,
            sample_rate_hz=SAMPLE_RATE,
        ),
        slots=slots,
        device=DeviceInfo("any", "cpu", "CPUExecutionProvider", "float32"),
        policies=(Policy(),),
        params=(ParamSpec("speed", 0.5, 2.0, 1.0, "how much faster than usual the characters follow each other"),),
        languages=LANGUAGES,
        max_tokens_per_segment=MAX_TOKENS,
        voice_modes=(VoiceMode.NAMED,),
        speakers=SPEAKERS,
    )


class ChimeEngine(WalkingEngine):
    """Runs the graph; who gets a speaker's voice is said in every call."""

    def __init__(self, *, slots: int = 2) -> None:
        graph = chime_graph()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._graph: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        revision = hashlib.sha256(graph).hexdigest()[:16]
        super().__init__(chime_spec(revision, slots=slots), items_per_step=IDS_PER_STEP)

    def made_per_item(self, session: Session) -> int:
        return samples_per_id(session.params["speed"])

    def make(self, session: Session, items: Array, segment: int, start: int) -> Array:
        each = self.made_per_item(session)
        given = {
            "ids": np.asarray(items, np.int64),
            "speaker": np.asarray([SPEAKERS.index(session.speaker or SPEAKERS[0])], np.int64),
            "columns": np.arange(each) * SAMPLES_PER_ID // each,
        }
        pcm: Array = self._graph.run(["pcm"], given)[0]
        return pcm.reshape(-1)


def samples_per_id(speed: float = 1.0) -> int:
    return round(SAMPLES_PER_ID / speed)
