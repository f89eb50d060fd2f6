"""What the three workers of the IndexTTS2 family agree on: their stages' names and the edges between them.

Everything else of the family lives in the workers; the gateway reads edges from Describe.
"""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.stage.policy import Policy
from services.common.stage.spec import Edge, EdgeKind, TensorSpec

STAGES = ("gpt", "s2mel", "vocoder")
"""From text to sound."""


def tokens_edge(config: CheckpointConfig) -> Edge:
    """Codes with their latents: at duration factor 1 a code owns 1.72 mel frames (specification §6.6)."""
    spect = config.s2mel.preprocess_params
    return Edge(
        EdgeKind.TOKENS,
        (
            TensorSpec("codes", "int32", (-1,)),
            TensorSpec("latents", "float32", (-1, config.gpt.model_dim)),
        ),
        rate_numerator=spect.sr * 100,
        rate_denominator=spect.spect_params.hop_length * 172,
        codebooks=1,
        vocabulary=config.semantic_codec.codebook_size,
        latent_width=config.gpt.model_dim,
    )


def mel_edge(config: CheckpointConfig) -> Edge:
    spect = config.s2mel.preprocess_params
    bins = spect.spect_params.n_mels
    return Edge(
        EdgeKind.MEL,
        (TensorSpec("mel", "float32", (-1, bins)),),
        rate_numerator=spect.sr,
        rate_denominator=spect.spect_params.hop_length,
        mel_bins=bins,
        sample_rate_hz=spect.sr,
    )


def pcm_edge(config: CheckpointConfig) -> Edge:
    rate = config.s2mel.preprocess_params.sr
    return Edge(EdgeKind.PCM, (TensorSpec("pcm", "int16", (-1,)),), rate_numerator=rate, sample_rate_hz=rate)


def streaming_policies(config: CheckpointConfig) -> tuple[Policy, ...]:
    """The checkpoint's own policies, the default one first."""
    return tuple(Policy(name=name, **policy.model_dump()) for name, policy in config.triptych.policies.items())
