"""The semantic encoder and codec with the heads that only training needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

from recipes.mini import dims
from recipes.mini.codec import TrainableCodec

NUM_LABELS = 192


def encoder_config() -> Wav2Vec2BertConfig:
    return Wav2Vec2BertConfig(
        vocab_size=None,
        hidden_size=dims.ENCODER_WIDTH,
        num_hidden_layers=dims.ENCODER_LAYERS,
        num_attention_heads=dims.ENCODER_HEADS,
        intermediate_size=dims.ENCODER_FFN,
        output_hidden_size=dims.ENCODER_WIDTH,
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=31,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=64,
        right_max_position_embeddings=8,
        hidden_act="swish",
        layer_norm_eps=1e-5,
        add_adapter=False,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        conformer_conv_dropout=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
    )


class SemanticModel(nn.Module):
    """Encoder, codec, and two heads that only training needs: labels, stress, pitch, voicing."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Wav2Vec2BertModel(encoder_config())
        self.codec = TrainableCodec()
        self.feature_head = nn.Linear(dims.ENCODER_WIDTH, NUM_LABELS + 3)
        self.code_head = nn.Linear(dims.ENCODER_WIDTH, NUM_LABELS + 3)

    def features(self, x: Tensor) -> Tensor:
        """(B, T, 160) -> (B, T, width)."""
        hidden: Tensor = self.encoder(x).last_hidden_state
        return hidden

    def read_codes(self, codes: Tensor) -> Tensor:
        """(B, T) codes -> (B, T, NUM_LABELS) scores of what they say."""
        decoded = self.codec.decoder(self.codec.embed(codes).transpose(1, 2))
        scores: Tensor = self.code_head(decoded)[..., :NUM_LABELS]
        return scores


@torch.no_grad()
def start_codebook(model: SemanticModel, hidden: Tensor) -> None:
    """k-means on the directions of one batch."""
    table = model.codec.table
    z = table.in_project(model.codec.encode(hidden)).transpose(1, 2).reshape(-1, dims.CODEBOOK_WIDTH)
    rows = z[torch.randint(len(z), (dims.CODEBOOK_SIZE,), device=z.device)].clone()
    for _ in range(10):
        nearest = (F.normalize(z, dim=-1) @ F.normalize(rows, dim=-1).T).argmax(-1)
        sums = torch.zeros_like(rows).index_add_(0, nearest, z)
        count = torch.bincount(nearest, minlength=len(rows))[:, None]
        spare = z[torch.randint(len(z), (len(rows),), device=z.device)]
        rows = torch.where(count > 0, sums / count.clamp(min=1), spare)
    table.codebook.weight.copy_(rows)
