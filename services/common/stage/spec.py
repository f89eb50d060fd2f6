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


class VoiceMode(IntEnum):
    """How a request may say whose voice it wants. Numbers equal those of the proto."""

    NAMED = 1
    REFERENCE = 2
    REFERENCE_WITH_TRANSCRIPT = 3


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

    @property
    def allowed(self) -> str:
        """Its range in words."""
        kind = "whole numbers " if self.is_integer else ""
        return f"{kind}{self.minimum:g} to {self.maximum:g}"

    def accepts(self, value: float) -> bool:
        # A NaN is in no range: every comparison with it is false.
        return self.minimum <= value <= self.maximum and (not self.is_integer or value == int(value))


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

    def seconds(self, num_items: int) -> float:
        """How long so many items last; 0 on an edge that states no rate."""
        return num_items * self.rate_denominator / self.rate_numerator if self.rate_numerator else 0.0


@dataclass(frozen=True, slots=True)
class VoiceStep:
    name: str
    takes: tuple[TensorSpec, ...]
    """``audio_<rate>`` and ``transcript`` come from the recording, ``emotion_text`` from the request."""
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
    policies: tuple[Policy, ...]
    """The model's policies: the streaming ones, the default first, and behind them those that are whole."""
    voice_steps: tuple[VoiceStep, ...] = ()
    conditions: tuple[TensorSpec, ...] = ()
    options: tuple[TensorSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    languages: tuple[str, ...] = ()
    """BCP-47 tags; a stage that does not care about the language names none."""
    max_tokens_per_segment: int = 0
    voice_modes: tuple[VoiceMode, ...] = ()
    """Named by the stages that need to know whose voice it is."""
    speakers: tuple[str, ...] = ()
    """The model's own voices, for `VoiceMode.NAMED`."""
    takes_instruction: bool = False
    option_steps: tuple[VoiceStep, ...] = ()
    """Steps like `voice_steps` whose results go into `options`."""
    input_window_chunks: int = 64
    """How many chunks a caller may send ahead of the engine."""

    @property
    def streaming_policies(self) -> tuple[Policy, ...]:
        return tuple(policy for policy in self.policies if not policy.is_whole)

    @property
    def default_policy(self) -> Policy:
        return self.policies[0]
