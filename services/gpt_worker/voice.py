"""The GPT stage's steps of a voice's features, on named arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from services.common.arrays import Array, Tensors
from services.gpt_worker.model.loading import GptStageModel


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
