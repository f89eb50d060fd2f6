"""The GPT stage's steps of a voice's features and of a request's emotion, on named arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.gpt_worker.emotion_text.classifier import EmotionClassifier
from services.gpt_worker.model.loading import GptStageModel

MAX_DESCRIPTION_BYTES = 4096
"""Of a text that describes an emotion: a longer one would keep the worker from its voices."""


def encode_voice(stage: GptStageModel, step: str, tensors: Mapping[str, Array]) -> Tensors:
    """Compute one of the steps that `spec` lists; arrays are float32 and unbatched."""
    given = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    if step == "speaker_features":
        made = stage.voice_features(given["audio_22050"])
    elif step == "emotion_features":
        made = {"emo_cond": stage.emotion_features(given["audio_16000"])}
    else:
        made = vars(stage.condition(given["spk_cond"], given["emo_cond"], given["style"]))
    return {name: tensor.float().cpu().numpy() for name, tensor in made.items()}


def encode_emotion_text(classifier: EmotionClassifier, tensors: Mapping[str, Array]) -> Tensors:
    """Compute the option step: `emotion_text`, UTF-8 as uint8 (N,), to `emotion_vector`, float64 (8,)."""
    data = tensors["emotion_text"].tobytes()
    if len(data) > MAX_DESCRIPTION_BYTES:
        raise InvalidRequestError(
            f"emotion_text has {len(data)} bytes; 1 to {MAX_DESCRIPTION_BYTES} are allowed",
            field="tensors[emotion_text]",
            reason=Reason.TEXT_TOO_LONG,
        )
    try:
        description = data.decode()
    except UnicodeDecodeError:
        raise tensor_error("emotion_text is not UTF-8", "tensors[emotion_text]") from None
    return {"emotion_vector": np.array(classifier.weights(description), np.float64)}
