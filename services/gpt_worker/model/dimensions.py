"""Sizes of UnifiedVoice: heads and token ids from config.yaml, the rest from tensor shapes where given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from services.common.checkpoint import CheckpointConfig, ConditionModule
from services.gpt_worker.model.conformer import ConformerDimensions
from services.gpt_worker.model.perceiver import PerceiverDimensions

_SPEAKER_LATENTS = 32
_PERCEIVER_HEAD_WIDTH = 64


@dataclass(frozen=True)
class ConditionerDimensions:
    conformer: ConformerDimensions
    perceiver: PerceiverDimensions


@dataclass(frozen=True)
class GptDimensions:
    width: int
    layers: int
    heads: int
    text_tokens: int
    """Rows of the text embedding: one more than config's number_text_tokens."""
    text_positions: int
    codes: int
    """Rows of the code embedding, start and stop included."""
    code_positions: int
    start_text: int
    stop_text: int
    start_code: int
    stop_code: int
    speaker: ConditionerDimensions
    emotion: ConditionerDimensions

    @classmethod
    def from_config(cls, config: CheckpointConfig, state: Mapping[str, Tensor] | None = None) -> GptDimensions:
        """Take sizes from config.yaml; those it does not state from `state`, else the official ones.

        The config is silent on the depthwise kernel and on number, depth and head width of the
        perceivers (§6.1).
        """
        gpt, state = config.gpt, state or {}
        semantic = config.semantic_encoder.hidden_size
        return cls(
            width=gpt.model_dim,
            layers=gpt.layers,
            heads=gpt.heads,
            text_tokens=gpt.number_text_tokens + 1,
            text_positions=gpt.max_text_tokens + 2,
            codes=gpt.number_mel_codes,
            code_positions=gpt.max_mel_tokens + 3,
            start_text=gpt.start_text_token,
            stop_text=gpt.stop_text_token,
            start_code=gpt.start_mel_token,
            stop_code=gpt.stop_mel_token,
            speaker=_conditioner(gpt.condition_module, semantic, gpt.model_dim, _SPEAKER_LATENTS, _inside(state, "")),
            emotion=_conditioner(gpt.emo_condition_module, semantic, semantic, 1, _inside(state, "emo_")),
        )


def _inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of one conditioner's tensors, by names without the emotion prefix."""
    parts = (f"{prefix}conditioning_encoder.", f"{prefix}perceiver_encoder.")
    return {name.removeprefix(prefix): tuple(tensor.shape) for name, tensor in state.items() if name.startswith(parts)}


def _conditioner(
    module: ConditionModule,
    input_width: int,
    width: int,
    latents: int,
    shapes: Mapping[str, tuple[int, ...]],
) -> ConditionerDimensions:
    kernel = shapes.get("conditioning_encoder.encoders.0.conv_module.depthwise_conv.weight", (0, 0, 15))
    latents, width = shapes.get("perceiver_encoder.latents", (latents, width))
    inner = shapes.get("perceiver_encoder.layers.0.1.2.weight", (width, int(width * module.perceiver_mult * 2 / 3)))
    attention = shapes.get(
        "perceiver_encoder.layers.0.0.to_q.weight", (_PERCEIVER_HEAD_WIDTH * module.attention_heads,)
    )
    layers = {match[1] for name in shapes if (match := re.match(r"perceiver_encoder\.layers\.(\d+)\.", name))}
    return ConditionerDimensions(
        ConformerDimensions(
            input_width=input_width,
            width=module.output_size,
            linear_units=module.linear_units,
            heads=module.attention_heads,
            blocks=module.num_blocks,
            kernel=kernel[2],
        ),
        PerceiverDimensions(
            context_width=module.output_size,
            width=width,
            heads=module.attention_heads,
            feed_forward=inner[1],
            latents=latents,
            depth=len(layers) or 2,
            head_width=attention[0] // module.attention_heads,
        ),
    )
