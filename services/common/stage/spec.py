"""What a stage takes, gives, needs and can do: the content of Describe, without protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from services.common.stage.policy import Policy


class EdgeKind(IntEnum):
    """Numbers equal those of the proto."""

    TEXT = 1
    TOKENS = 2
    MEL = 3
    PCM = 4


@dataclass(frozen=True, slots=True)
class TensorSpec:
    name: str
    dtype: str
    shape: tuple[int, ...]
    """-1 stands for any length."""
    is_optional: bool = False

    def accepts(self, dtype: str, shape: tuple[int, ...]) -> bool:
        return (
            dtype == self.dtype
            and len(shape) == len(self.shape)
            and all(want in (-1, have) for want, have in zip(self.shape, shape, strict=True))
        )


@dataclass(frozen=True, slots=True)
class ParamSpec:
    name: str
    minimum: float
    maximum: float
    default: float
    description: str
    is_integer: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """What travels between two stages; two stages connect where one's `gives` equals the other's `takes`."""

    kind: EdgeKind
    tensors: tuple[TensorSpec, ...]
    rate_numerator: int = 0
    rate_denominator: int = 1
    codebooks: int = 0
    vocabulary: int = 0
    latent_width: int = 0
    mel_bins: int = 0
    sample_rate_hz: int = 0
    look_ahead: int = 0


@dataclass(frozen=True, slots=True)
class VoiceStep:
    name: str
    takes: tuple[TensorSpec, ...]
    """``audio_<rate>`` comes from the recording."""
    gives: tuple[str, ...]
    max_audio_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    name: str
    kind: str
    provider: str
    dtype: str


@dataclass(frozen=True, slots=True)
class StageSpec:
    stage: str
    model: str
    revision: str
    takes: Edge
    gives: Edge
    slots: int
    device: DeviceInfo
    default_policy: Policy
    voice_steps: tuple[VoiceStep, ...] = ()
    conditions: tuple[TensorSpec, ...] = ()
    options: tuple[TensorSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    languages: tuple[str, ...] = ()
    max_tokens_per_segment: int = 0
    input_window_chunks: int = 64
    """How many chunks a caller may send ahead of the engine."""
