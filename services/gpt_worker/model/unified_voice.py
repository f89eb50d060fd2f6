"""UnifiedVoice: conditions and text in, codes and latents out (§6).

Letters: B batch, T frames of a prompt, W semantic width, D width, N speaker latents, C conditioning
rows (N + 2), L text ids with start and stop, P prefix (C + L + 1), n codes, V code vocabulary.
Holds no gradient switches: callers choose inference mode, training uses `forward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from services.gpt_worker.model.conformer import Conformer
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.perceiver import Perceiver
from services.gpt_worker.model.transformer import Transformer

Positions = Literal["compat", "fast"]
"""`compat` numbers start and codes 0, 2, 3, ..; `fast` 0, 1, 2, .. as in training (§6.5)."""


def code_position(index: int, positions: Positions) -> int:
    """Position row of the start token (index 0) or of the index-th code (from 1)."""
    return index + 1 if positions == "compat" and index > 0 else index


@dataclass(frozen=True)
class StepOutput:
    """What one decode step leaves: the scores of the next code and the latent that belongs to it."""

    logits: Tensor  # (V,), raw
    latent: Tensor  # (D,)


@dataclass(frozen=True)
class SequenceOutput:
    """Hidden states after the final norm and their logits, for every text and code position."""

    text_hidden: Tensor  # (B, L, D)
    code_hidden: Tensor  # (B, n + 1, D); row k predicts code k + 1, the last the stop
    text_logits: Tensor  # (B, L, text vocabulary)
    code_logits: Tensor  # (B, n + 1, V)


class PositionTable(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, width)

    def forward(self, start: int, stop: int) -> Tensor:
        if stop > self.emb.num_embeddings:
            raise ValueError(f"position {stop - 1} is beyond the table of {self.emb.num_embeddings} rows")
        return self.emb.weight[start:stop]


class UnifiedVoice(nn.Module):
    def __init__(self, dimensions: GptDimensions) -> None:
        super().__init__()
        self.dimensions = dimensions
        width, speaker, emotion = dimensions.width, dimensions.speaker, dimensions.emotion
        self.conditioning_encoder = Conformer(speaker.conformer)
        self.perceiver_encoder = Perceiver(speaker.perceiver)
        self.emo_conditioning_encoder = Conformer(emotion.conformer)
        self.emo_perceiver_encoder = Perceiver(emotion.perceiver)
        self.emovec_layer = nn.Linear(emotion.perceiver.width, width)
        self.emo_layer = nn.Linear(width, width)
        self.speed_emb = nn.Embedding(2, width)
        self.text_embedding = nn.Embedding(dimensions.text_tokens, width)
        self.text_pos_embedding = PositionTable(dimensions.text_positions, width)
        self.mel_embedding = nn.Embedding(dimensions.codes, width)
        self.mel_pos_embedding = PositionTable(dimensions.code_positions, width)
        self.gpt = Transformer(width, dimensions.layers, dimensions.heads)
        self.final_norm = nn.LayerNorm(width)
        self.text_head = nn.Linear(width, dimensions.text_tokens)
        self.mel_head = nn.Linear(width, dimensions.codes)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def speaker_latents(self, spk_cond: Tensor) -> Tensor:  # (B, T, W) -> (B, N, D)
        latents: Tensor = self.perceiver_encoder(self.conditioning_encoder(spk_cond))
        return latents

    def emotion_vector(self, emo_cond: Tensor) -> Tensor:  # (B, T, W) -> (B, D)
        summary: Tensor = self.emo_perceiver_encoder(self.emo_conditioning_encoder(emo_cond))
        vector: Tensor = self.emo_layer(self.emovec_layer(summary[:, 0]))
        return vector

    def conditioning(self, speaker_latents: Tensor, emovec: Tensor) -> Tensor:
        """Rows before the text (§6.4): (B, N, D) and (B, D) to (B, N + 2, D)."""
        speeds = self.speed_emb.weight.flip(0).expand(len(emovec), -1, -1)
        return torch.cat([speaker_latents + emovec[:, None], speeds], dim=1)

    def frame_text(self, text_ids: Sequence[int], *, keep_markers: bool = False) -> Tensor:
        """Put start and stop around ids: (1, L).

        The decode removes start and stop ids inside the text; the published second pass does not
        (`keep_markers`).
        """
        markers = (self.dimensions.start_text, self.dimensions.stop_text)
        inner = [int(i) for i in text_ids if keep_markers or int(i) not in markers]
        return torch.tensor([[markers[0], *inner, markers[1]]], device=self.mel_head.weight.device)

    def embed_text(self, text: Tensor) -> Tensor:  # (B, L) -> (B, L, D)
        embedded: Tensor = self.text_embedding(text) + self.text_pos_embedding(0, text.shape[1])
        return embedded

    def embed_codes(self, codes: Tensor, first_position: int) -> Tensor:
        """Embed codes (B, t) at consecutive position rows: (B, t, D)."""
        stop = first_position + codes.shape[1]
        embedded: Tensor = self.mel_embedding(codes) + self.mel_pos_embedding(first_position, stop)
        return embedded

    def embed_prefix(self, conds: Tensor, text: Tensor) -> Tensor:
        """Conditioning (1, C, D), framed text (1, L) and the start token: (1, P, D)."""
        start = torch.full((1, 1), self.dimensions.start_code, device=text.device)
        return torch.cat([conds, self.embed_text(text), self.embed_codes(start, 0)], dim=1)

    def prefill(self, prefix: Tensor, cache: KeyValueCache, row: int) -> StepOutput:
        """Start a row from its prefix (1, P, D)."""
        cache.reset(row)
        return self.extend(prefix[0], cache, row)

    def extend(self, x: Tensor, cache: KeyValueCache, row: int) -> StepOutput:
        """Append embedded positions (T, D) to a row; what comes of the last one."""
        return self._step_output(self.gpt.extend(x, cache, row))

    def decode_step(self, code: int, position: int, cache: KeyValueCache, row: int) -> StepOutput:
        """Append one code, at a position row from `code_position`, to one row of the cache."""
        embedded = self.mel_embedding.weight[code] + self.mel_pos_embedding(position, position + 1)
        return self.extend(embedded, cache, row)

    def decode_rows(self, inputs: Tensor, cache: KeyValueCache, readable: int) -> Tensor:
        """Append one code to each of B rows at once; see `Transformer.extend_rows`.

        Args:
            inputs: (4, B) int64: codes, their position rows, rows of the cache, positions already in each.
            cache: of the rows.
            readable: positions to read.

        Returns:
            (B, V + D) float32, logits and latents side by side, so that one copy brings them to the host.
        """
        codes, positions, rows, past = inputs.unbind()
        embedded = self.mel_embedding(codes) + self.mel_pos_embedding.emb(positions)
        latents = self.final_norm(self.gpt.extend_rows(embedded, cache, rows, past, readable)).float()
        return torch.cat([self.mel_head(latents), latents], dim=1)

    def forward(self, conds: Tensor, text: Tensor, codes: Tensor, text_mask: Tensor | None = None) -> SequenceOutput:
        """Run whole sequences with teacher-forced codes, positions as in training.

        Args:
            conds: (B, C, D).
            text: (B, L), start and stop included, padded at the end where lengths differ.
            codes: (B, n), without start and stop. Padding at their end needs no mask.
            text_mask: (B, L), True for ids that are not padding.
        """
        text_hidden, code_hidden = self.hidden(conds, text, codes, text_mask)
        return SequenceOutput(text_hidden, code_hidden, self.text_head(text_hidden), self.mel_head(code_hidden))

    def hidden(
        self, conds: Tensor, text: Tensor, codes: Tensor, text_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, without logits: (B, L, D) and (B, n + 1, D)."""
        start = torch.full((len(codes), 1), self.dimensions.start_code, device=codes.device)
        sequence = [conds, self.embed_text(text), self.embed_codes(torch.cat([start, codes], dim=1), 0)]
        mask = None if text_mask is None else _padded_text_mask(text_mask, conds.shape[1], codes.shape[1] + 1)
        hidden: Tensor = self.final_norm(self.gpt(torch.cat(sequence, dim=1), mask))
        _, of_text, of_codes = torch.split(hidden, [part.shape[1] for part in sequence], dim=1)
        return of_text, of_codes

    def second_pass(self, conds: Tensor, text_ids: Sequence[int], codes: Sequence[int]) -> Tensor:
        """Latents (n, D) of finished codes, as published: text markers kept (§6.7).

        The published pass also feeds the last code and a stop and drops their outputs; being
        causal it gives the same without them.
        """
        text = self.frame_text(text_ids, keep_markers=True)
        _, code_hidden = self.hidden(conds, text, torch.tensor([list(codes)[:-1]], device=text.device).long())
        return code_hidden[0, : len(codes)]

    def _step_output(self, hidden: Tensor) -> StepOutput:
        latent = self.final_norm(hidden[-1])
        return StepOutput(self.mel_head(latent), latent)


def _padded_text_mask(text_mask: Tensor, before: int, after: int) -> Tensor:
    """Causal mask (B, 1, S, S) that also hides padded text ids, for S = before + L + after."""
    batch = len(text_mask)
    visible = torch.cat([text_mask.new_ones(batch, before), text_mask, text_mask.new_ones(batch, after)], 1)
    size = visible.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=text_mask.device).tril()
    return causal[None, None] & visible[:, None, None].bool()
