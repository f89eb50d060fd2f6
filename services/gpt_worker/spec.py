"""What the GPT stage says of itself."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.checkpoint.parameters import gpt_parameters
from services.common.indextts2 import all_policies, tokens_edge
from services.common.stage.spec import (
    DeviceInfo,
    Edge,
    EdgeKind,
    StageSpec,
    TensorSpec,
    VoiceMode,
    VoiceStep,
)
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.emotion import NUM_EMOTIONS

EMOTION_TEXT = "emotion_text"
"""The option step, and the tensor that it takes."""


def max_text_ids(dimensions: GptDimensions) -> int:
    """Text ids that fit a segment: the position table also holds start and stop."""
    return dimensions.text_positions - 2


def max_codes(dimensions: GptDimensions) -> int:
    """Codes that fit a segment: the position table also holds start, stop and the published gap."""
    return dimensions.code_positions - 3


def stage_spec(
    config: CheckpointConfig,
    dimensions: GptDimensions,
    *,
    revision: str,
    slots: int,
    device: DeviceInfo,
    has_emotion_text: bool = False,
) -> StageSpec:
    mini = config.triptych
    return StageSpec(
        stage="gpt",
        model=mini.name,
        revision=revision,
        takes=Edge(EdgeKind.TEXT, (TensorSpec("ids", "int32", (-1,)),), vocabulary=dimensions.text_tokens),
        gives=tokens_edge(config),
        slots=slots,
        device=device,
        policies=all_policies(config),
        voice_steps=_voice_steps(config),
        conditions=_conditions(dimensions),
        options=(
            TensorSpec("emotion_vector", "float64", (NUM_EMOTIONS,), is_optional=True),
            TensorSpec("emotion_emovec", "float32", (dimensions.width,), is_optional=True),
        ),
        params=gpt_parameters(config),
        languages=tuple(mini.languages),
        max_tokens_per_segment=min(mini.text.max_text_tokens_per_segment, max_text_ids(dimensions)),
        input_window_chunks=8,
        voice_modes=(VoiceMode.REFERENCE,),
        option_steps=(_emotion_text_step(),) if has_emotion_text else (),
    )


def _voice_steps(config: CheckpointConfig) -> tuple[VoiceStep, ...]:
    semantic = config.semantic_encoder.hidden_size
    features = (
        TensorSpec("spk_cond", "float32", (-1, semantic)),
        TensorSpec("emo_cond", "float32", (-1, semantic)),
        TensorSpec("style", "float32", (config.s2mel.style_encoder.dim,)),
    )
    made = ("speaker_latents", "speaker_emovec", "self_emovec", "emotion_rows")
    return (
        VoiceStep("speaker_features", (TensorSpec("audio_22050", "float32", (-1,)),), ("spk_cond", "audio_16k")),
        VoiceStep("emotion_features", (TensorSpec("audio_16000", "float32", (-1,)),), ("emo_cond",)),
        VoiceStep("condition", features, made),
    )


def _conditions(dimensions: GptDimensions) -> tuple[TensorSpec, ...]:
    width = dimensions.width
    return (
        TensorSpec("speaker_latents", "float32", (dimensions.speaker.perceiver.latents, width)),
        TensorSpec("speaker_emovec", "float32", (width,)),
        TensorSpec("self_emovec", "float32", (width,)),
        TensorSpec("emotion_rows", "float32", (NUM_EMOTIONS, width)),
    )


def _emotion_text_step() -> VoiceStep:
    return VoiceStep(EMOTION_TEXT, (TensorSpec(EMOTION_TEXT, "uint8", (-1,)),), ("emotion_vector",))
