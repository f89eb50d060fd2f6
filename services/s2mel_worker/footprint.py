"""How much memory a slot of the S2Mel stage takes: one step of its longest window. An estimate, on the large side."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.s2mel_worker.model.windows import frames_of

_GUIDED = 2
"""Halves of a step, with and without the condition."""

_LIVE_WIDTHS = 24
"""Tensors of the transformer's width that a block keeps at a time: input, queries, keys, values and the inner layer,
which is more than twice four wide; the WaveNet behind it stays below that."""


def longest_window(config: CheckpointConfig) -> int:
    """Frames of the longest window of all streaming policies, with prompt, prefix and look-ahead."""
    spect = config.s2mel.preprocess_params
    frames_per_second = spect.sr / spect.spect_params.hop_length
    return max(
        int(policy.prompt_seconds * frames_per_second)
        + frames_of(policy.prefix_codes + policy.max_window_codes + policy.look_ahead_codes)
        for policy in config.triptych.policies.values()
    )


def slot_bytes(config: CheckpointConfig, *, bytes_per_number: int) -> int:
    """Bytes of one row of a step; a skip connection keeps the output of every other block."""
    network = config.s2mel.DiT
    widths = _LIVE_WIDTHS + network.depth // 2
    return longest_window(config) * network.hidden_dim * widths * _GUIDED * bytes_per_number
