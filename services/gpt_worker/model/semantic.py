"""The w2v-BERT encoder up to the layer whose output carries the voice, with its normalisation (§4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

UNUSED_TENSORS = ("masked_spec_embed", "adapter\\..*", ".*num_batches_tracked")
"""Patterns of tensors in the published file that the truncated encoder does not use."""


class SemanticEncoder(nn.Module):
    """Features to normalised semantic embeddings, one per 20 ms."""

    mean: Tensor
    variance: Tensor

    def __init__(self, encoder_config: Mapping[str, Any], layer: int) -> None:
        """Build the first `layer` layers.

        Args:
            encoder_config: content of the encoder's config.json.
            layer: number of layers kept; layers above it are never computed.
        """
        super().__init__()
        # Here, so that what needs no encoder (a worker's engine, a benchmark) needs no such library.
        from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel  # noqa: PLC0415

        config = Wav2Vec2BertConfig(**{**encoder_config, "num_hidden_layers": layer})
        # Masking is a training aid; switching it off keeps masked_spec_embed out of the module.
        config.update({"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False})
        self.encoder = Wav2Vec2BertModel(config)
        self.set_statistics(torch.zeros(config.hidden_size), torch.ones(config.hidden_size))

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Set mean and variance (W,) of the embeddings, which have a file of their own."""
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("variance", variance, persistent=False)

    def hidden_states(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Return what enters the first layer and leaves each layer, (1, T, W) each.

        Args:
            features: (1, T, 160).
            mask: (1, T), 0 for rows that are padding.
        """
        output = self.encoder(features, attention_mask=mask, output_hidden_states=True)
        states: tuple[Tensor, ...] = output.hidden_states
        return states

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:  # (1, T, 160) -> (1, T, W)
        return self.normalise(self.hidden_states(features, mask)[-1])

    def normalise(self, hidden: Tensor) -> Tensor:
        """Bring hidden states (1, T, W) to the mean and variance that the GPT and the codec expect."""
        return (hidden - self.mean) / torch.sqrt(self.variance)
