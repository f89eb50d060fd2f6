"""The S2Mel stage's step of a voice's features, on named arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from services.common.tensors import Array, Tensors
from services.s2mel_worker.model.loading import S2MelStageModel


@torch.inference_mode()
def encode_voice(stage: S2MelStageModel, step: str, tensors: Mapping[str, Array]) -> Tensors:
    """Compute the one step that `spec` lists; arrays are unbatched."""
    assert step == "prompt"
    given = {name: torch.from_numpy(np.array(array)).to(stage.device) for name, array in tensors.items()}
    made = stage.prompt(given["audio_22050"], given["audio_16k"], given["spk_cond"])
    arrays = {name: tensor.cpu().numpy() for name, tensor in made.items()}
    return {
        name: array.astype(np.int32 if name == "prompt_codes" else np.float32)
        for name, array in arrays.items()
    }
