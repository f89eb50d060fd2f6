"""The S2Mel stage's step of a voice's features, on named arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from services.common.arrays import Array, Tensors
from services.s2mel_worker.model.stage import S2MelStageModel


@torch.inference_mode()
def encode_voice(stage: S2MelStageModel, step: str, tensors: Mapping[str, Array]) -> Tensors:
    """Compute the one step that `spec` lists; arrays are unbatched."""
    assert step == "prompt"
    given = {name: torch.from_numpy(np.array(array)).to(stage.device) for name, array in tensors.items()}
    made = stage.prompt(given["audio_22050"], given["audio_16k"], given["spk_cond"])
    return {
        "style": made["style"].cpu().numpy(),
        "prompt_codes": made["prompt_codes"].cpu().numpy().astype(np.int32),
        "prompt_condition": made["prompt_condition"].cpu().numpy(),
        "prompt_mel": made["prompt_mel"].cpu().numpy(),
    }
