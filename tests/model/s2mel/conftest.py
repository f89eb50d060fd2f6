"""A tiny stage with random weights whose constants carry noise, so that wrong biases and gates show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from services.common.checkpoint import (
    CheckpointConfig,
    DitConfig,
    GptConfig,
    LengthRegulatorConfig,
    S2MelConfig,
    SemanticCodecConfig,
    StyleEncoder,
    WavenetConfig,
)
from services.s2mel_worker.model.campplus import Dimensions
from services.s2mel_worker.model.stage import S2MelStageModel, Voice

STYLE = Dimensions(head_channels=4, init_channels=8, growth=4, bn_size=2, block_layers=(2, 3, 2), embedding=12)
LATENT_WIDTHS = (12, 10)


def tiny_config() -> CheckpointConfig:
    return CheckpointConfig(
        gpt=GptConfig(model_dim=14),
        semantic_codec=SemanticCodecConfig(
            codebook_size=32,
            hidden_size=16,
            codebook_dim=4,
            vocos_dim=12,
            vocos_intermediate_dim=20,
            vocos_num_layers=2,
        ),
        s2mel=S2MelConfig(
            style_encoder=StyleEncoder(dim=12),
            length_regulator=LengthRegulatorConfig(channels=18, in_channels=16),
            DiT=DitConfig(hidden_dim=32, num_heads=2, depth=5, content_dim=18),
            wavenet=WavenetConfig(hidden_dim=32, num_layers=3),
        ),
    )


@torch.no_grad()
def shake(model: S2MelStageModel) -> None:
    """Move every parameter off its constant, and let batch norms see signals, or their ReLUs die."""
    for parameter in model.parameters():
        parameter.add_(0.15 * torch.randn_like(parameter))
    for layer in model.campplus.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 0.9
    model.campplus.train()(torch.randn(4, 120, 80))
    model.campplus.eval()


@pytest.fixture(scope="session")
def stage() -> S2MelStageModel:
    torch.manual_seed(11)
    model = S2MelStageModel(tiny_config(), STYLE, LATENT_WIDTHS).eval()
    shake(model)
    return model.requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def voice(stage: S2MelStageModel) -> Voice:
    generator = torch.Generator().manual_seed(5)
    audio = 0.1 * torch.randn(22050, generator=generator)
    spk_cond = torch.randn(50, 16, generator=generator)
    return stage.prompt(audio, audio[:16000], spk_cond)
