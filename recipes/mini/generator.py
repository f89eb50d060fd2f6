"""The vocoder's torch module, sized for the mini voice and made ready to train."""

from __future__ import annotations

from typing import Any

from torch import nn

from recipes.mini import training
from recipes.mini.fused_activation import fuse
from services.vocoder_worker.export.bigvgan import BigVgan, BigVganConfig, add_weight_norm

CONFIG: dict[str, Any] = {
    "resblock": "1",
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 256,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": None,
}


def build(for_training: bool = True) -> BigVgan:
    """Weight norm kept, residual convolutions started small; fused activations on a CPU."""
    model = BigVgan(BigVganConfig.from_mapping(CONFIG))
    add_weight_norm(model)
    for name, parameter in model.named_parameters():
        if "convs" in name and name.endswith("weight_v"):
            nn.init.normal_(parameter, 0.0, 0.01)
            gain = model.get_parameter(name[:-1] + "g")
            gain.data = parameter.data.flatten(1).norm(dim=1).view_as(gain)
    if for_training and training.pick_device().type == "cpu":
        fuse(model)
    return model
