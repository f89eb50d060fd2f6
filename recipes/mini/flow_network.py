"""Length regulator and flow estimator at the mini voice's sizes, under one roof for training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recipes.mini import dims, settings
from services.s2mel_worker.model.dit import DiT
from services.s2mel_worker.model.flow import Flow
from services.s2mel_worker.model.length_regulator import LengthRegulator, streaming_map


class FlowNetwork(nn.Module):
    """Letters: B batch, N codes, T frames, W code vector width, C condition width."""

    def __init__(self) -> None:
        super().__init__()
        config = settings.config().s2mel
        self.length_regulator = LengthRegulator.from_config(config.length_regulator)
        self.estimator = DiT.from_config(config)
        self.reset_gates()

    @torch.no_grad()
    def reset_gates(self) -> None:
        """Adaptive norms start as plain ones, and the last layer's modulation at nothing."""
        for name, parameter in self.estimator.named_parameters():
            if name.endswith("project_layer.weight"):
                nn.init.normal_(parameter, 0.0, 0.02)
            elif name.endswith("project_layer.bias"):
                half = len(parameter) // 2
                parameter[:half], parameter[half:] = 1.0, 0.0
            elif "adaLN_modulation" in name:
                parameter.zero_()

    def regulate(self, vectors: Tensor) -> Tensor:
        """(B, N, W) code vectors -> (B, T, C) for the frames that N codes own."""
        index = streaming_map(0, vectors.shape[1]).to(vectors.device)
        out: Tensor = self.length_regulator(vectors, index.expand(len(vectors), -1))
        return out

    def velocity(self, x: Tensor, prompt: Tensor, t: Tensor, style: Tensor, mu: Tensor) -> Tensor:
        """x, prompt (B, T, 80), t (B,), style (B, 192), mu (B, T, C) -> (B, T, 80)."""
        out: Tensor = self.estimator(x.transpose(1, 2), prompt.transpose(1, 2), None, t, style, mu)
        return out.transpose(1, 2)


@torch.no_grad()
def render(
    network: FlowNetwork,
    vectors: Tensor,
    prompt_vectors: Tensor,
    prompt_mel: Tensor,
    style: Tensor,
    *,
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> Tensor:
    """A whole utterance: code vectors (1, N, W), prompt mel (80, P) -> mel (1, 80, T)."""
    given = min(prompt_mel.shape[1], network.regulate(prompt_vectors).shape[1])
    mu = torch.cat([network.regulate(prompt_vectors)[:, :given], network.regulate(vectors)], 1)
    noise = torch.randn(1, dims.NUM_MELS, mu.shape[1], generator=generator).to(mu.device)
    prompt = torch.zeros_like(noise)
    prompt[..., :given] = prompt_mel[:, :given]
    lengths = torch.tensor([given], device=mu.device)
    mel: Tensor = Flow(network.estimator)(noise, prompt, lengths, mu, style, num_steps=steps, cfg_rate=rate)
    return mel[..., given:]
