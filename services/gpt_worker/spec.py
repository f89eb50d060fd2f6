"""What the GPT stage says of itself."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.indextts2 import streaming_policies, tokens_edge
from services.common.stage.spec import (
    DeviceInfo,
    Edge,
    EdgeKind,
    ParamSpec,
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
        policies=streaming_policies(config),
        voice_steps=_voice_steps(config),
        conditions=_conditions(dimensions),
        options=(
            TensorSpec("emotion_vector", "float64", (NUM_EMOTIONS,), is_optional=True),
            TensorSpec("emotion_emovec", "float32", (dimensions.width,), is_optional=True),
        ),
        params=_params(config, dimensions),
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


def _params(config: CheckpointConfig, dimensions: GptDimensions) -> tuple[ParamSpec, ...]:
    default = config.triptych.sampling
    limit = max_codes(dimensions)
    return (
        ParamSpec("temperature", 0.1, 2.0, default.temperature, "flattens (above 1) or sharpens the choice of codes"),
        ParamSpec("top_p", 0.01, 1.0, default.top_p, "keeps the likeliest codes up to this probability"),
        ParamSpec(
            "top_k",
            0,
            dimensions.codes,
            default.top_k,
            "keeps so many of the likeliest codes; 0 is off",
            True,
        ),
        ParamSpec("repetition_penalty", 0.1, 20.0, default.repetition_penalty, "weakens codes that were used"),
        ParamSpec(
            "max_codes",
            1,
            limit,
            min(default.max_mel_tokens, limit),
            "cuts a segment after so many codes",
            True,
        ),
        ParamSpec("greedy", 0, 1, float(not default.do_sample), "1 takes the likeliest code each time", True),
        ParamSpec("num_beams", 1, 10, 1, "beams of the search; above 1 only with compat", True),
        ParamSpec("length_penalty", -2.0, 2.0, default.length_penalty, "prefers long (above 0) or short beams"),
        ParamSpec("emotion_weight", 0.0, 1.0, 1.0, "strength of the emotion vector or recording"),
        ParamSpec("emotion_normalized", 0, 1, 0, "1 damps and limits the emotion vector", True),
        ParamSpec("compat", 0, 1, 0, "1 decodes a segment whole, with the published positions and second pass", True),
    )
