"""All networks of the stage together, and what one voice's recording becomes in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from services.common.checkpoint import CheckpointConfig
from services.s2mel_worker.model.campplus import CamPlus, Dimensions
from services.s2mel_worker.model.codec import SemanticCodec
from services.s2mel_worker.model.fbank import kaldi_fbank
from services.s2mel_worker.model.flow import Flow
from services.s2mel_worker.model.length_regulator import LengthRegulator, whole_map
from services.s2mel_worker.model.mel import log_mel
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

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def prompt(self, audio_22k: Tensor, audio_16k: Tensor, spk_cond: Tensor) -> Voice:
        """Encode a recording.

        Args:
            audio_22k: (N,) the recording at 22050 Hz, in [-1, 1].
            audio_16k: (N',) the same at 16 kHz, resampled from the former.
            spk_cond: (Tw, D) its normalised semantic features, made by the GPT stage.
        """
        bank = kaldi_fbank(audio_16k.flatten(), self.campplus.dimensions.num_bins)
        style = self.campplus((bank - bank.mean(0))[None])[0]
        codes, features = self.codec.quantize(spk_cond.flatten(0, -2)[None])
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
        index = whole_map(len(features), num_frames).to(features.device)
        y: Tensor = self.length_regulator(features[None], index[None])
        return y[0]

    def flow(
        self,
        condition: Tensor,
        known_mel: Tensor,
        style: Tensor,
        noise: Tensor,
        num_steps: int,
        cfg_rate: float,
    ) -> Tensor:
        """Continue a mel.

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
        return self.flow_batch([condition], [known_mel], [style], [noise], num_steps=num_steps, cfg_rate=cfg_rate)[0]

    def flow_batch(
        self,
        conditions: Sequence[Tensor],
        known_mels: Sequence[Tensor],
        styles: Sequence[Tensor],
        noises: Sequence[Tensor],
        *,
        num_steps: int,
        cfg_rate: float,
    ) -> list[Tensor]:
        """Continue several mels of any lengths in one padded batch; see `flow` for one item."""
        known_lengths = [len(mel) for mel in known_mels]
        lengths = [len(condition) for condition in conditions]
        pairs = list(zip(known_mels, noises, strict=True))
        starts = [torch.cat((torch.zeros_like(mel), noise)) for mel, noise in pairs]
        prompts = [torch.cat((mel, torch.zeros_like(noise))) for mel, noise in pairs]
        out: Tensor = self.cfm(
            pad_sequence(starts, batch_first=True).transpose(1, 2),
            pad_sequence(prompts, batch_first=True).transpose(1, 2),
            torch.tensor(known_lengths, device=self.device),
            pad_sequence(list(conditions), batch_first=True),
            torch.stack(list(styles)),
            self._ragged(lengths),
            num_steps=num_steps,
            cfg_rate=cfg_rate,
        )
        rows = zip(out.transpose(1, 2), known_lengths, lengths, strict=True)
        return [row[first:last] for row, first, last in rows]

    def regulate_batch(self, features: Sequence[Tensor], maps: Sequence[Tensor]) -> list[Tensor]:
        """Regulate items (N, D) by their index maps (T,) in one padded batch: (T, C) each."""
        lengths = [len(index) for index in maps]
        regulated: Tensor = self.length_regulator(
            pad_sequence(list(features), batch_first=True),
            pad_sequence([index.to(self.device) for index in maps], batch_first=True),
            self._ragged(lengths),
        )
        return [row[:length] for row, length in zip(regulated, lengths, strict=True)]

    def _ragged(self, lengths: Sequence[int]) -> Tensor | None:
        """Lengths for the networks, or None where all are equal: an attention without masks is faster."""
        return torch.tensor(lengths, device=self.device) if len(set(lengths)) > 1 else None

    def on_device(self, voice: Voice) -> Voice:
        """Bring a voice to where the weights are."""
        device = self.device
        return Voice(
            style=voice["style"].to(device),
            prompt_codes=voice["prompt_codes"].to(device),
            prompt_condition=voice["prompt_condition"].to(device),
            prompt_mel=voice["prompt_mel"].to(device),
        )
