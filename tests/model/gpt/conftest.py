"""A tiny GPT with random weights whose constants carry noise, so that wrong biases show."""

from __future__ import annotations

import pytest
import torch

from services.common.checkpoint import CheckpointConfig, ConditionModule, GptConfig, SemanticEncoderConfig
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.unified_voice import UnifiedVoice

SEMANTIC_WIDTH = 24


def tiny_config() -> CheckpointConfig:
    conditioner = ConditionModule(output_size=16, linear_units=24, attention_heads=2, num_blocks=1)
    return CheckpointConfig(
        gpt=GptConfig(
            model_dim=32,
            heads=2,
            layers=2,
            max_mel_tokens=120,
            max_text_tokens=30,
            number_text_tokens=20,
            number_mel_codes=18,
            start_mel_token=16,
            stop_mel_token=17,
            condition_module=conditioner,
            emo_condition_module=conditioner,
        ),
        semantic_encoder=SemanticEncoderConfig(hidden_size=SEMANTIC_WIDTH, layer=1),
    )


@pytest.fixture(scope="session")
def voice() -> UnifiedVoice:
    torch.manual_seed(7)
    model = UnifiedVoice(GptDimensions.from_config(tiny_config())).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def conds(voice: UnifiedVoice) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    spk_cond = torch.randn(1, 30, SEMANTIC_WIDTH, generator=generator)
    return voice.conditioning(voice.speaker_latents(spk_cond), voice.emotion_vector(spk_cond))
