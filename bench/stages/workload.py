"""What a measurement of the stages computes: sizes of the networks and of one utterance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.stages.random_values import BIGVGAN
from services.common.checkpoint import CheckpointConfig, ConditionModule, GptConfig, S2MelConfig, SemanticCodecConfig
from services.common.checkpoint.sections import (
    DitConfig,
    LengthRegulatorConfig,
    SemanticEncoderConfig,
    WavenetConfig,
)
from services.s2mel_worker.model.windows import frames_of

CODES_PER_SECOND = 50
FRAMES_PER_SECOND = 22050 / 256


@dataclass(frozen=True)
class Sizes:
    """The networks of a checkpoint."""

    name: str
    config: CheckpointConfig
    bigvgan: Mapping[str, Any]
    """The vocoder's config.json."""


@dataclass(frozen=True)
class Workload:
    """One utterance; the defaults are those of the published measurements."""

    codes: int = 250
    text_ids: int = 40
    prompt_frames: int = 430
    steps: int = 25
    cfg_rate: float = 0.7

    @property
    def frames(self) -> int:
        """Mel frames that the codes become."""
        return frames_of(self.codes)

    @property
    def prompt_codes(self) -> int:
        return round(self.prompt_frames * CODES_PER_SECOND / FRAMES_PER_SECOND)

    @property
    def audio_seconds(self) -> float:
        return self.frames / FRAMES_PER_SECOND


@dataclass(frozen=True)
class Modes:
    """What the fast way computes in; words of the setting `dtype`."""

    gpt: str
    s2mel: str
    guidance_interval: int
    """Steps of the flow from one computation of the guidance to the next."""


FULL = Sizes("full size", CheckpointConfig(), BIGVGAN)

_CONDITIONER = ConditionModule(output_size=16, linear_units=24, attention_heads=2, num_blocks=1)

TOY = Sizes(
    "toy",
    CheckpointConfig(
        gpt=GptConfig(
            model_dim=32,
            heads=2,
            layers=2,
            max_mel_tokens=400,
            max_text_tokens=60,
            number_text_tokens=50,
            number_mel_codes=66,
            start_mel_token=64,
            stop_mel_token=65,
            condition_module=_CONDITIONER,
            emo_condition_module=_CONDITIONER,
        ),
        semantic_codec=SemanticCodecConfig(
            codebook_size=64, hidden_size=24, vocos_dim=16, vocos_intermediate_dim=24, vocos_num_layers=1
        ),
        semantic_encoder=SemanticEncoderConfig(hidden_size=24, layer=1),
        s2mel=S2MelConfig(
            length_regulator=LengthRegulatorConfig(channels=32, in_channels=24),
            DiT=DitConfig(hidden_dim=32, num_heads=2, depth=3, content_dim=32),
            wavenet=WavenetConfig(hidden_dim=32, num_layers=2),
        ),
        emo_num=(1,) * 8,
    ),
    BIGVGAN | {"upsample_initial_channel": 64},
)
"""Networks of the same make that compute in milliseconds, to run the commands through."""
