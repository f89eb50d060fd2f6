"""From a public config to a request that the pipeline can run: everything checked, named and resolved."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass

import numpy as np

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common import tensors
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError
from services.frontend import validation
from services.frontend.speech import SpeechRequest, StageInputs
from services.frontend.topology import Pipeline, Pool, Topology
from services.frontend.voice_features import for_stage
from services.frontend.voices import Voices

EMOTION_OPTION = "emotion_"
OWN_CONDITION = "self_"
VECTOR_OPTION = "emotion_vector"


@dataclass(frozen=True)
class Extras:
    """What a request adds for the stages that declare it."""

    params: dict[str, float]
    options: Tensors


class RequestResolver:
    """Knows which models and voices there are."""

    def __init__(self, topology: Topology, voices: Voices) -> None:
        self._topology = topology
        self._voices = voices

    async def resolve(
        self, config: synthesis_pb2.SynthesisConfig, *, utterance_id: str, deadline: float | None
    ) -> SpeechRequest:
        """Check a config and fetch the voices that it names.

        Raises:
            InvalidRequestError: A field is out of range, or asks for what the model cannot do.
            NotFoundError: There is no such model or voice.
            StageLostError: A stage has no worker.
        """
        session_id = validation.session_id(config.session_id)
        pipeline = self._topology.pipeline(config.model)
        policy = validation.policy(config, pipeline)
        params = dict(validation.params(config, pipeline))
        if policy.name == "compat":
            params["compat"] = 1.0
        gap_ms = validation.gap_ms(config)
        max_segment_tokens = validation.segment_tokens(config, pipeline)
        voice = self._voices.resolve(config.voice, field_path="config.voice")
        emotion = await self._emotion(config.emotion, pipeline)
        features = await self._voices.features(voice, pipeline)
        extras = Extras({**params, **emotion.params}, emotion.options)
        return SpeechRequest(
            utterance_id=utterance_id,
            session_id=session_id,
            seed=config.seed if config.HasField("seed") else secrets.randbits(64),
            pipeline=pipeline,
            policy=policy,
            inputs={pool.stage: _inputs(pool, extras, features) for pool in pipeline.pools},
            voice_id=voice.id,
            gap_ms=gap_ms,
            max_segment_tokens=max_segment_tokens,
            deadline=deadline,
        )

    async def _emotion(self, emotion: synthesis_pb2.Emotion, pipeline: Pipeline) -> Extras:
        kind = emotion.WhichOneof("kind")
        if kind is None:
            if emotion.HasField("weight"):
                raise InvalidRequestError(
                    "config.emotion.weight needs an emotion vector or voice", field="config.emotion.weight"
                )
            return Extras({}, {})
        params = {}
        if emotion.HasField("weight"):
            validation.require(pipeline.params(), "emotion_weight", "config.emotion.weight")
            params["emotion_weight"] = validation.in_range(emotion.weight, 0.0, 1.0, "config.emotion.weight")
        if kind == "voice":
            return Extras(params, await self._emotion_of_voice(emotion.voice, pipeline))
        if emotion.vector.is_normalized:
            validation.require(pipeline.params(), "emotion_normalized", "config.emotion.vector.is_normalized")
            params["emotion_normalized"] = 1.0
        return Extras(params, _vector_option(emotion.vector, pipeline))

    async def _emotion_of_voice(self, name: str, pipeline: Pipeline) -> Tensors:
        pairs = emotion_pairs(pipeline)
        if not pairs:
            raise validation.unsupported("config.emotion.voice")
        if not name:
            raise InvalidRequestError("config.emotion.voice is empty", field="config.emotion.voice")
        voice = self._voices.resolve(name, field_path="config.emotion.voice")
        features = await self._voices.features(voice, pipeline)
        return {option: features[condition] for option, condition in pairs.items()}


def new_utterance_id() -> str:
    return uuid.uuid4().hex


def emotion_pairs(pipeline: Pipeline) -> dict[str, str]:
    """Options that take another voice's emotion, each with the condition that holds a voice's own."""
    conditions = pipeline.conditions()
    pairs = {name: OWN_CONDITION + name.removeprefix(EMOTION_OPTION) for name in pipeline.options()}
    return {
        option: condition
        for option, condition in pairs.items()
        if option.startswith(EMOTION_OPTION) and condition in conditions
    }


def capabilities(pipeline: Pipeline) -> list[str]:
    found = []
    if VECTOR_OPTION in pipeline.options():
        found.append("emotion_vector")
    if emotion_pairs(pipeline):
        found.append("emotion_voice")
    return found


def _vector_option(vector: synthesis_pb2.EmotionVector, pipeline: Pipeline) -> Tensors:
    if VECTOR_OPTION not in pipeline.options():
        raise validation.unsupported("config.emotion.vector")
    return {VECTOR_OPTION: np.asarray(validation.emotion_strengths(vector), np.float64)}


def _inputs(pool: Pool, extras: Extras, features: Tensors) -> StageInputs:
    params = {spec.name for spec in pool.about.params}
    options = {spec.name for spec in pool.about.options}
    given: list[stage_pb2.Tensor] = tensors.to_proto(
        {name: value for name, value in extras.options.items() if name in options}
    )
    return StageInputs(
        params={name: value for name, value in extras.params.items() if name in params},
        options=given,
        voice=for_stage(features, pool),
    )
