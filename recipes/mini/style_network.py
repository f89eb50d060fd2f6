"""The style encoder's torch module at the mini voice's sizes."""

from __future__ import annotations

from services.s2mel_worker.model.campplus import CamPlus, Dimensions

# A thirteenth of the published network; loaders read the sizes off the tensors.
SIZES = Dimensions(head_channels=16, init_channels=64, growth=32, bn_size=2, block_layers=(4, 6, 4))


def build() -> CamPlus:
    return CamPlus(SIZES)
