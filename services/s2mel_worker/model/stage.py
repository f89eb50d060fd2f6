"""All networks of the stage together, and what one voice's recording becomes in them."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from typing import TypedDict

import torch
from torch import Tensor, nn

from services.common.checkpoint import CheckpointConfig
from services.common.voice_networks import VoiceNetworks
from services.s2mel_worker.model.campplus import CamPlus, Dimensions
from services.s2mel_worker.model.codec import SemanticCodec
from services.s2mel_worker.model.fbank import kaldi_fbank
from services.s2mel_worker.model.flow import Flow
from services.s2mel_worker.model.frames import Span
from services.s2mel_worker.model.length_regulator import LengthRegulator, whole_map
from services.s2mel_worker.model.mel import log_mel
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stepping import OneByOne
from services.s2mel_worker.model.trajectory import Clock, Trajectory
from services.s2mel_worker.model.velocity import VelocityNetwork
from services.s2mel_worker.model.windows import frames_of

GPT_LAYER_WIDTHS = (256, 128)
"""Inner widths of the layer that brings latents to the width of the semantic features (§7.1)."""


class Voice(TypedDict):
    """What this stage keeps of a voice; 50 codes and 22050/256 frames per second."""

    style: Tensor
    """(192,)"""
    prompt_codes: Tensor
    """(Tw,) int64"""
    prompt_condition: Tensor
    """(Tm, C)"""
    prompt_mel: Tensor
    """(Tm, M)"""


class S2MelStageModel(nn.Module):
    """Style network, codec, length regulator, latent layer and flow; methods take unbatched items."""

    def __init__(
        self,
        config: CheckpointConfig,
        campplus: Dimensions | None = None,
        latent_widths: tuple[int, ...] = GPT_LAYER_WIDTHS,
    ) -> None:
        super().__init__()
        self.config = config
        self.campplus = CamPlus(campplus)
        self.codec = SemanticCodec.from_config(config.semantic_codec)
        self.length_regulator = LengthRegulator.from_config(config.s2mel.length_regulator)
        widths = (config.gpt.model_dim, *latent_widths, config.s2mel.length_regulator.in_channels)
        self.gpt_layer = nn.Sequential(*(nn.Linear(inner, outer) for inner, outer in pairwise(widths)))
        self.cfm = Flow.from_config(config.s2mel)
        self._velocity: VelocityNetwork | None = None
        self.voice_networks: VoiceNetworks | None = None
        """Brings style network and codec encoder to where `prompt` finds them; None where they stay in place."""

    @property
    def device(self) -> torch.device:
        return next(self.gpt_layer.parameters()).device

    def prompt(self, audio_22k: Tensor, audio_16k: Tensor, spk_cond: Tensor) -> Voice:
        """Encode a recording.

        Args:
            audio_22k: (N,) the recording at 22050 Hz, in [-1, 1].
            audio_16k: (N',) the same at 16 kHz, resampled from the former.
            spk_cond: (Tw, D) its normalised semantic features, made by the GPT stage.
        """
        bank = kaldi_fbank(audio_16k.flatten(), self.campplus.dimensions.num_bins)
        with self.voice_networks.at_hand() if self.voice_networks else nullcontext(self.device) as device:
            style = self.campplus((bank - bank.mean(0))[None].to(device))[0].to(self.device)
            encoded = self.codec.encode(spk_cond.flatten(0, -2)[None].to(device)).to(self.device)
        codes, features = self.codec.table(encoded.transpose(1, 2))
        mel = log_mel(audio_22k.flatten(), self.config.s2mel.preprocess_params)
        return Voice(
            style=style,
            prompt_codes=codes[0],
            prompt_condition=self.regulate_whole(features[0], len(mel)),
            prompt_mel=mel,
        )

    def features(self, codes: Tensor, latents: Tensor) -> Tensor:
        """Codes (N,) and latents (N, L) to semantic features (N, D)."""
        y: Tensor = self.codec.vq2emb(codes[None])[0] + self.gpt_layer(latents)
        return y

    def cond(self, codes: Tensor, latents: Tensor, duration_factor: float = 1.0) -> Tensor:
        """Condition (T, C) of a whole segment in one pass, as published; T = frames_of(N, duration_factor)."""
        return self.regulate_whole(self.features(codes, latents), frames_of(len(codes), duration_factor))

    def regulate_whole(self, features: Tensor, num_frames: int) -> Tensor:
        """Stretch features (N, D) over `num_frames` frames: (num_frames, C)."""
        return self.regulate(features, whole_map(len(features), num_frames))

    @property
    def velocity(self) -> VelocityNetwork:
        """The flow's network as it is served; made at the first call, in float32 unless `serve` says otherwise."""
        if self._velocity is None:
            self._velocity = VelocityNetwork(self.cfm.estimator)
        return self._velocity

    def serve(self, dtype: torch.dtype) -> None:
        """Compute the flow in `dtype` from now on, and give up the network that it is made from."""
        self._velocity = VelocityNetwork(self.cfm.estimator, dtype)
        del self.cfm

    def flow(
        self,
        condition: Tensor,
        known_mel: Tensor,
        style: Tensor,
        noise: Tensor,
        num_steps: int,
        cfg_rate: float,
    ) -> Tensor:
        """Continue a mel, from beginning to end, in equal Euler steps.

        Args:
            condition: (Tk + T, C) of all frames.
            known_mel: (Tk, M) what goes before.
            style: (192,).
            noise: (T, M) start of the unknown frames.
            num_steps: Euler steps.
            cfg_rate: strength of the guidance.

        Returns:
            (T, M) the frames behind the known ones.
        """
        clock = Clock.of(self.velocity, Solver(num_steps))
        render = self.trajectory(clock, condition, known_mel, style, noise, cfg_rate)
        stepper = OneByOne(self.velocity)
        while not render.is_done:
            stepper.advance([render])
        return render.mel

    def trajectory(
        self, clock: Clock, condition: Tensor, known_mel: Tensor, style: Tensor, noise: Tensor, cfg_rate: float
    ) -> Trajectory:
        """Begin to continue a mel; arguments as in `flow`."""
        network = self.velocity
        span = Span(len(condition), len(known_mel), network.reach)
        return Trajectory(clock, network.condition(known_mel, condition, style), noise, span, cfg_rate)

    def regulate(self, features: Tensor, index: Tensor) -> Tensor:
        """Features (N, D) to conditions (T, C) by an index map (T,)."""
        y: Tensor = self.length_regulator(features[None], index.to(features.device)[None])
        return y[0]

    def on_device(self, voice: Voice) -> Voice:
        """Bring a voice to where the weights are."""
        device = self.device
        return Voice(
            style=voice["style"].to(device),
            prompt_codes=voice["prompt_codes"].to(device),
            prompt_condition=voice["prompt_condition"].to(device),
            prompt_mel=voice["prompt_mel"].to(device),
        )
