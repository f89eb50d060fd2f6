"""A checkpoint directory in the official layout: its config.yaml, its paths and its revision.

Imports no torch, so that the gateway can read it. Weights are read by `services.common.weights`.
"""

from __future__ import annotations

from services.common.checkpoint.config import KNOWN_VERSIONS, load_config
from services.common.checkpoint.errors import CheckpointError
from services.common.checkpoint.files import CheckpointFiles
from services.common.checkpoint.revision import revision
from services.common.checkpoint.sections import (
    CheckpointConfig,
    ConditionModule,
    DitConfig,
    GptConfig,
    LengthRegulatorConfig,
    PreprocessParams,
    S2MelConfig,
    SemanticCodecConfig,
    SemanticEncoderConfig,
    StyleEncoder,
    WavenetConfig,
)

__all__ = [
    "KNOWN_VERSIONS",
    "CheckpointConfig",
    "CheckpointError",
    "CheckpointFiles",
    "ConditionModule",
    "DitConfig",
    "GptConfig",
    "LengthRegulatorConfig",
    "PreprocessParams",
    "S2MelConfig",
    "SemanticCodecConfig",
    "SemanticEncoderConfig",
    "StyleEncoder",
    "WavenetConfig",
    "load_config",
    "revision",
]
