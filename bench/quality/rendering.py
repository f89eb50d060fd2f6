"""One speech under one policy: codes into the S2Mel engine as they would arrive, its mel into the vocoder's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.quality.material import Speech
from bench.quality.stages import StageRun, Stages
from services.common.arrays import Array
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk


@dataclass(frozen=True)
class Packet:
    """Samples that left the vocoder together, and what had to be done for them since the beginning."""

    start: int
    """Index of its first sample."""
    num_samples: int
    num_codes: int
    """Codes that the GPT must have made."""
    cpu_seconds: float
    """CPU seconds of S2Mel and vocoder."""


@dataclass(frozen=True)
class Rendered:
    """What came of a speech."""

    mel: Array
    """float32 (T, M)"""
    samples: Array
    """float32 (T * frame_samples,) in [-1, 1]"""
    window_starts: list[int]
    """First frame of each window of S2Mel but the first."""
    packets: list[Packet]
    """Those with samples, in order."""

    def vocoder_starts(self, frame_samples: int) -> list[int]:
        """Frame with which each of the vocoder's pieces begins, but the first."""
        return [packet.start // frame_samples for packet in self.packets[1:]]


@dataclass(frozen=True)
class MelPiece:
    """A window's frames, and what had to be done for them since the beginning."""

    chunk: Chunk
    num_codes: int
    cpu_seconds: float


def render_mel(stages: Stages, speech: Speech, policy: Policy) -> list[MelPiece]:
    """Send the codes to S2Mel as a stream would, or whole where the policy says so.

    Raises:
        TtsError: The engine refuses the policy.
    """
    pieces = []
    with StageRun(stages.s2mel, speech.seed, policy, {}, speech.voice.features) as run:
        for codes in speech.chunks(policy.codes_per_chunk):
            for mel in run.push(codes):
                pieces.append(MelPiece(mel, codes.start + codes.length, run.cpu_seconds))
    return pieces


def make_sound(stages: Stages, speech: Speech, mel: Sequence[MelPiece], policy: Policy) -> Rendered:
    """Send the windows' frames to the vocoder, one after another.

    Raises:
        TtsError: The engine refuses the policy.
    """
    pieces, packets = [], []
    with StageRun(stages.vocoder, speech.seed, policy, {}, {}) as run:
        for piece in mel:
            for pcm in run.push(piece.chunk):
                pieces.append(pcm.tensors["pcm"])
                if pcm.length:
                    spent = piece.cpu_seconds + run.cpu_seconds
                    packets.append(Packet(pcm.start, pcm.length, piece.num_codes, spent))
    return Rendered(
        mel=np.concatenate([piece.chunk.tensors["mel"] for piece in mel]),
        samples=np.concatenate(pieces).astype(np.float32) / 32768,
        window_starts=[piece.chunk.start for piece in mel if piece.chunk.start and piece.chunk.length],
        packets=packets,
    )


class Renderer:
    """Renders one speech under policy after policy; those that differ in the vocoder alone share their mel."""

    def __init__(self, stages: Stages, speech: Speech) -> None:
        self._stages = stages
        self._speech = speech
        self._mels: list[tuple[Policy, list[MelPiece]]] = []

    def render(self, policy: Policy) -> Rendered:
        return make_sound(self._stages, self._speech, self._mel(policy), policy)

    def _mel(self, policy: Policy) -> list[MelPiece]:
        key = replace(policy, name="", vocoder_context_frames=0, vocoder_look_ahead_frames=0)
        for known, mel in self._mels:
            if known == key:
                return mel
        mel = render_mel(self._stages, self._speech, policy)
        self._mels.append((key, mel))
        return mel


def render(stages: Stages, speech: Speech, policy: Policy) -> Rendered:
    """Render one speech under one policy."""
    return Renderer(stages, speech).render(policy)
