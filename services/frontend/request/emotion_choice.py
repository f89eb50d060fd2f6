"""How a request wants its speech to feel, checked against what the model can do, as options of its stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protos.tts.v1 import synthesis_pb2
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, TtsError
from services.common.reasons import Reason
from services.frontend.request import validation
from services.frontend.request.capabilities import (
    EMOTION_TEXT,
    VECTOR_OPTION,
    emotion_pairs,
    emotion_text_step,
    missing,
)
from services.frontend.voices.record import StoredVoice
from services.frontend.voices.registry import Voices
from services.frontend.workers.step import Step
from services.frontend.workers.topology import Pipeline

MAX_TEXT_CHARACTERS = 1_000


@dataclass(frozen=True)
class EmotionChoice:
    """One of three, or nothing for the emotion of the voice's own recording."""

    vector: Tensors | None = None
    stored: StoredVoice | None = None
    text: str = ""

    async def options(self, voices: Voices, pipeline: Pipeline) -> Tensors:
        """What the stages are given for it.

        Raises:
            TtsError: A recording cannot be used, or a worker cannot be reached.
        """
        if self.vector is not None:
            return self.vector
        if self.stored is not None:
            features = await voices.features(self.stored, pipeline, field_path="config.emotion.voice")
            return {option: features[condition] for option, condition in emotion_pairs(pipeline).items()}
        step = emotion_text_step(pipeline)
        return await _read_emotion(self.text, step, pipeline) if self.text and step is not None else {}


def choose_emotion(emotion: synthesis_pb2.Emotion, pipeline: Pipeline, voices: Voices) -> EmotionChoice:
    """Find what a config asks for; its numbers are parameters and checked with those.

    Raises:
        InvalidRequestError: It is not allowed, or the model cannot do it.
        NotFoundError: There is no voice of this name.
    """
    kind = emotion.WhichOneof("kind")
    if kind == "vector":
        return EmotionChoice(vector=_vector(emotion.vector, pipeline))
    if kind == "voice":
        return EmotionChoice(stored=_voice(emotion.voice, pipeline, voices))
    if kind == "text":
        return EmotionChoice(text=_text(emotion.text, pipeline))
    if emotion.HasField("weight"):
        raise InvalidRequestError(
            "config.emotion.weight needs a vector, a voice or a text",
            field="config.emotion.weight",
            reason=Reason.FIELD_CONFLICT,
        )
    return EmotionChoice()


def _vector(vector: synthesis_pb2.EmotionVector, pipeline: Pipeline) -> Tensors:
    if VECTOR_OPTION not in pipeline.options():
        raise missing("emotion_vector", "config.emotion.vector", pipeline)
    return {VECTOR_OPTION: np.asarray(validation.emotion_strengths(vector), np.float64)}


def _voice(name: str, pipeline: Pipeline, voices: Voices) -> StoredVoice:
    if not emotion_pairs(pipeline):
        raise missing("emotion_voice", "config.emotion.voice", pipeline)
    if not name:
        raise InvalidRequestError(
            "config.emotion.voice is empty; give a voice's name or id", field="config.emotion.voice"
        )
    return voices.resolve(name, field_path="config.emotion.voice")


def _text(text: str, pipeline: Pipeline) -> str:
    if emotion_text_step(pipeline) is None:
        raise missing("emotion_text", "config.emotion.text", pipeline)
    if not text.strip():
        raise InvalidRequestError(
            f"config.emotion.text is empty; 1 to {MAX_TEXT_CHARACTERS} characters are allowed",
            field="config.emotion.text",
            reason=Reason.TEXT_EMPTY,
        )
    return validation.at_most(text, MAX_TEXT_CHARACTERS, "config.emotion.text")


async def _read_emotion(text: str, step: Step, pipeline: Pipeline) -> Tensors:
    """Have a worker find the emotion that a text describes."""
    try:
        return await step.run({EMOTION_TEXT: np.frombuffer(text.encode(), np.uint8)}, pipeline)
    except TtsError as failure:
        failure.field = "config.emotion.text" if isinstance(failure, InvalidRequestError) else ""
        raise
