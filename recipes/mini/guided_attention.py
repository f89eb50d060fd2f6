"""One attention head in two layers learns from the teacher which character is being spoken."""

from __future__ import annotations

import torch
from torch import Tensor

from recipes.mini import dims
from recipes.mini.gpt_data import Batch
from services.gpt_worker.model.unified_voice import UnifiedVoice

GUIDED_LAYERS = (1, 2)  # head 0 of these


class GuidedAttention:
    """Reads the attention of head 0 in some layers while the model runs forward."""

    def __init__(self, model: UnifiedVoice) -> None:
        self.model = model
        self.inputs: dict[int, Tensor] = {}
        for layer in GUIDED_LAYERS:
            norm = model.gpt.h[layer].get_submodule("ln_1")
            norm.register_forward_hook(lambda _m, _i, out, layer=layer: self.inputs.__setitem__(layer, out))

    def loss(self, batch: Batch, first_text: int) -> Tensor:
        """-log attention from every code position to the text position it speaks."""
        num_text = batch.text.shape[1]
        first_code = first_text + num_text
        known = (batch.aligned >= 0).float()
        losses = []
        for layer in GUIDED_LAYERS:
            x = self.inputs[layer]
            attention = self.model.gpt.h[layer].get_submodule("attn").get_submodule("c_attn")
            weight, bias = attention.get_parameter("weight"), attention.get_parameter("bias")
            width = x.shape[-1]
            head = width // dims.GPT_HEADS
            query = torch.addmm(bias[:head], x[:, first_code:].reshape(-1, width), weight[:, :head])
            key = torch.addmm(bias[width : width + head], x.reshape(-1, width), weight[:, width : width + head])
            query = query.view(len(x), -1, head)
            scores = (query @ key.view(len(x), -1, head).transpose(1, 2)).float() / head**0.5
            scores = scores.masked_fill(self.hidden_keys(batch, first_text, scores), -1e9)
            text_scores = scores.log_softmax(-1)[..., first_text:first_code]
            picked = text_scores.gather(2, batch.aligned.clamp(min=0)[..., None])[..., 0]
            losses.append(-(picked * known).sum() / known.sum())
        return torch.stack(losses).mean()

    def hidden_keys(self, batch: Batch, first_text: int, scores: Tensor) -> Tensor:
        """True where a code position may not look: the future, and padded text."""
        num_queries, num_keys = scores.shape[1:]
        device = scores.device
        query_at = torch.arange(num_keys - num_queries, num_keys, device=device)
        future = torch.arange(num_keys, device=device)[None] > query_at[:, None]
        padded = torch.zeros(len(scores), num_keys, dtype=torch.bool, device=device)
        padded[:, first_text : first_text + batch.text.shape[1]] = ~batch.text_mask
        return future[None] | padded[:, None]
