"""What the S2Mel stage says of itself."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.indextts2 import mel_edge, streaming_policies, tokens_edge
from services.common.stage.policy import Policy
from services.common.stage.spec import DeviceInfo, ParamSpec, StageSpec, TensorSpec, VoiceMode, VoiceStep


def stage_spec(config: CheckpointConfig, *, revision: str, slots: int, device: DeviceInfo) -> StageSpec:
    project, s2mel, policies = config.triptych, config.s2mel, streaming_policies(config)
    return StageSpec(
        stage="s2mel",
        model=project.name,
        revision=revision,
        takes=tokens_edge(config),
        gives=mel_edge(config),
        slots=slots,
        device=device,
        policies=policies,
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
        params=(
            ParamSpec("steps", 1, 100, project.flow.steps, "steps of the flow-matching solver", is_integer=True),
            ParamSpec("sway", -1.0, 1.0, 0.0, "below 0 more of the steps are early, above 0 late; 0 makes equal steps"),
            ParamSpec(
                "solver_order",
                1,
                2,
                1,
                "1: Euler steps. 2: a step also leans on the velocity before, at no further cost",
                is_integer=True,
            ),
            ParamSpec(
                "guidance_interval",
                1,
                100,
                1,
                "steps from one computation of the guidance to the next, once the flow has settled",
                is_integer=True,
            ),
            ParamSpec("cfg_rate", 0.0, 3.0, project.flow.cfg_rate, "strength of classifier-free guidance"),
            ParamSpec("duration_factor", 0.5, 2.0, 1.0, "frames of a code: 2 speaks half as fast"),
            ParamSpec("compat", 0, 1, 0, "1 renders a segment whole, with the published frame map", is_integer=True),
        ),
        languages=tuple(project.languages),
        voice_modes=(VoiceMode.REFERENCE,),
        # So far the GPT may be ahead of the window that is being rendered.
        input_window_chunks=max(_window_chunks(policy) for policy in policies),
    )


def _window_chunks(policy: Policy) -> int:
    return -(-(policy.max_window_codes + policy.look_ahead_codes) // policy.codes_per_chunk) + 1
