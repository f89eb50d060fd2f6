"""How much memory the S2Mel stage takes on a GPU, from its sizes alone: an estimate, on the large side.

Letters: T frames of the longest render, P of its prompt, C width, M mel bins, K taps of the WaveNet, B rows of a batch.
"""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.indextts2 import longest_window, streaming_policies
from services.common.stage.policy import Policy
from services.common.stage.slots import Demand
from services.s2mel_worker.model.batching import rows_bucket, size_bucket
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.stepping import MAX_PLANS, MAX_ROWS
from services.s2mel_worker.prompts import CLOCK_CACHE_BYTES, PROMPT_CACHE_BYTES

_FLOAT_BYTES, _INDEX_BYTES = 4, 8

_GUIDED = 2
"""Halves of a step, with and without the condition."""

_LIVE_WIDTHS = 24
"""Tensors of the transformer's width that a block keeps at a time: input, queries, keys, values and the inner layer,
which is more than twice four wide. The WaveNet keeps 12 and the outputs of all its layers."""

_WAVENET_WIDTHS = 12

_BEGIN_WIDTHS = 12
"""Tensors of the regulator's width that a render keeps at a time while it begins."""

_PLAN_SHARE = 8
"""One of so many bytes of a limit may hold what shapes of batches keep ready."""

_VOICE_PLANES = 6
"""Pictures (channels, bins, frames) that the style network's head keeps at a time."""

_VOICE_FRAMES = 1500
"""Frames of the longest recording: 15 s, 100 a second."""


def longest_render(config: CheckpointConfig) -> int:
    """Frames of the longest window of all streaming policies, with prompt, prefix and look-ahead, as it is padded."""
    return size_bucket(
        longest_window(
            config,
            num_codes=lambda policy: policy.prefix_codes + policy.max_window_codes + policy.look_ahead_codes,
            num_frames=lambda policy: _prompt_frames(config, policy),
        )
    )


def step_bytes(config: CheckpointConfig, rows: int) -> int:
    """One step: 2 B T C (24 + d / 2) for d blocks, of which every other's output is kept for a skip connection.

    With very many layers the WaveNet takes more: 2 B T C (12 + layers).
    """
    network = config.s2mel.DiT
    widths = max(_LIVE_WIDTHS + network.depth // 2, _WAVENET_WIDTHS + config.s2mel.wavenet.num_layers)
    return rows * longest_render(config) * network.hidden_dim * widths * _GUIDED * _FLOAT_BYTES


def slot_bytes(config: CheckpointConfig) -> int:
    """What a session in work holds: T (C + 5 M) of its render's condition, points and velocities, P (C + M) prompt."""
    width, bins = config.s2mel.DiT.hidden_dim, config.s2mel.preprocess_params.spect_params.n_mels
    prompt = max(_prompt_frames(config, policy) for policy in streaming_policies(config))
    channels = config.s2mel.length_regulator.channels
    return (longest_render(config) * (width + 5 * bins) + prompt * (channels + bins)) * _FLOAT_BYTES


def begin_bytes(config: CheckpointConfig) -> int:
    """One render that begins: T 12 C in the regulator; renders begin one after another."""
    regulator = config.s2mel.length_regulator
    return longest_render(config) * max(regulator.channels, regulator.in_channels) * _BEGIN_WIDTHS * _FLOAT_BYTES


def plan_bytes(config: CheckpointConfig, rows: int) -> int:
    """What one shape of batch keeps ready: B T (C + 3 M) numbers, 2 B T (2 + K) indices and 2 B T of a mask.

    And B (4 d + 2 l + 4) C numbers that d blocks and l layers of the WaveNet are told of the time.
    """
    network = config.s2mel
    width, bins = network.DiT.hidden_dim, network.preprocess_params.spect_params.n_mels
    indices = _GUIDED * (2 + network.wavenet.kernel_size)
    per_frame = (width + 3 * bins) * _FLOAT_BYTES + indices * _INDEX_BYTES + _GUIDED
    told = (4 * network.DiT.depth + 2 * network.wavenet.num_layers + 4) * width * _FLOAT_BYTES
    return rows * (longest_render(config) * per_frame + told)


def max_plan_bytes(limit_bytes: int) -> int | None:
    """What all shapes together may keep ready: without a limit on the process only their number is limited."""
    return limit_bytes // _PLAN_SHARE if limit_bytes else None


def voice_bytes(stage: S2MelStageModel) -> int:
    """A new voice on the GPU: networks that come back for it, and its largest step, the style network's head."""
    networks = stage.voice_networks
    if networks is None or not networks.is_on_device:
        return 0
    sizes = stage.campplus.dimensions
    planes = _VOICE_PLANES * sizes.head_channels * sizes.num_bins * _VOICE_FRAMES
    return networks.returning_bytes + planes * _FLOAT_BYTES


def demand(stage: S2MelStageModel, *, max_batch_size: int, limit_bytes: int) -> Demand:
    """What the stage takes beside its weights; whole renders, which may be longer than any window, come on top."""
    config = stage.config
    voices, most_plans = voice_bytes(stage), max_plan_bytes(limit_bytes)

    def of(slots: int) -> dict[str, int]:
        rows = rows_bucket(min(slots, max_batch_size, MAX_ROWS))
        step, plan = step_bytes(config, rows), plan_bytes(config, rows)
        kept = MAX_PLANS * plan if most_plans is None else max(plan, min(most_plans, MAX_PLANS * plan))
        return {
            "slots": slots * slot_bytes(config),
            "steps": max(step, begin_bytes(config)),
            # The pool that all graphs share holds one step of its own.
            "graphs": step + kept,
            "caches": PROMPT_CACHE_BYTES + CLOCK_CACHE_BYTES,
            "voices": voices,
        }

    return of


def _prompt_frames(config: CheckpointConfig, policy: Policy) -> int:
    spect = config.s2mel.preprocess_params
    return int(policy.prompt_seconds * spect.sr / spect.spect_params.hop_length)
