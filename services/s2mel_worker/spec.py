"""What the S2Mel stage says of itself."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.checkpoint.parameters import s2mel_parameters
from services.common.indextts2 import (
    all_policies,
    mel_edge,
    streaming_policies,
    tokens_edge,
)
from services.common.stage.policy import Policy
from services.common.stage.spec import DeviceInfo, StageSpec, TensorSpec, VoiceMode, VoiceStep


def stage_spec(config: CheckpointConfig, *, revision: str, slots: int, device: DeviceInfo) -> StageSpec:
    project, s2mel = config.triptych, config.s2mel
    return StageSpec(
        stage="s2mel",
        model=project.name,
        revision=revision,
        takes=tokens_edge(config),
        gives=mel_edge(config),
        slots=slots,
        device=device,
        policies=all_policies(config),
        voice_steps=(
            VoiceStep(
                "prompt",
                (
                    TensorSpec("audio_22050", "float32", (-1,)),
                    TensorSpec("audio_16k", "float32", (-1,)),
                    TensorSpec("spk_cond", "float32", (-1, config.semantic_encoder.hidden_size)),
                ),
                ("style", "prompt_codes", "prompt_condition", "prompt_mel"),
            ),
        ),
        conditions=(
            TensorSpec("style", "float32", (s2mel.style_encoder.dim,)),
            TensorSpec("prompt_codes", "int32", (-1,)),
            TensorSpec("prompt_condition", "float32", (-1, s2mel.length_regulator.channels)),
            TensorSpec("prompt_mel", "float32", (-1, s2mel.preprocess_params.spect_params.n_mels)),
        ),
        params=s2mel_parameters(config),
        languages=tuple(project.languages),
        voice_modes=(VoiceMode.REFERENCE,),
        # So far the GPT may be ahead of the window that is being rendered.
        input_window_chunks=max(_window_chunks(policy) for policy in streaming_policies(config)),
    )


def _window_chunks(policy: Policy) -> int:
    return -(-(policy.max_window_codes + policy.look_ahead_codes) // policy.codes_per_chunk) + 1
