"""What the three workers of the IndexTTS2 family agree on: their stages' names and the edges between them.

Everything else of the family lives in the workers; the gateway reads edges from Describe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from services.common.checkpoint import CheckpointConfig
from services.common.checkpoint.parameters import MAX_DURATION_FACTOR
from services.common.stage.policy import Policy
from services.common.stage.spec import Edge, EdgeKind, TensorSpec

STAGES = ("gpt", "s2mel", "vocoder")
"""From text to sound."""

FRAMES_PER_100_CODES = 172
FRAMES_PER_CODE = FRAMES_PER_100_CODES / 100
"""Mel frames that a code owns at duration factor 1 (specification §6.6)."""

WHOLE_POLICY = "whole"


def tokens_edge(config: CheckpointConfig) -> Edge:
    """Codes with their latents, at duration factor 1."""
    spect = config.s2mel.preprocess_params
    return Edge(
        EdgeKind.TOKENS,
        (
            TensorSpec("codes", "int32", (-1,)),
            TensorSpec("latents", "float32", (-1, config.gpt.model_dim)),
        ),
        rate_numerator=spect.sr * 100,
        rate_denominator=spect.spect_params.hop_length * FRAMES_PER_100_CODES,
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


def all_policies(config: CheckpointConfig) -> tuple[Policy, ...]:
    """What a worker states: the streaming ones, and behind them `whole`, which sees more of the voice than they do."""
    streaming, whole = streaming_policies(config), config.triptych.whole
    return (*streaming, replace(streaming[0], name=WHOLE_POLICY, is_whole=True, **whole.model_dump()))


def longest_window(
    config: CheckpointConfig, *, num_codes: Callable[[Policy], int], num_frames: Callable[[Policy], int]
) -> int:
    """Frames of the longest window of all streaming policies, when speech is as slow as can be.

    Args:
        config: With the policies.
        num_codes: Codes whose frames a window of a policy sees: they last longer in slow speech.
        num_frames: Frames that it sees besides, whatever the speed.
    """
    return max(slowest_frames(num_codes(policy)) + num_frames(policy) for policy in streaming_policies(config))


def slowest_frames(num_codes: int) -> int:
    """Frames of so many codes when speech is as slow as can be."""
    return math.ceil(num_codes * FRAMES_PER_CODE * MAX_DURATION_FACTOR)
