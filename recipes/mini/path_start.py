"""A start for the flow network that already knows the way: mel estimate minus state.

Left to itself the network never learns to subtract its own noise (its residual correlates 1.0 with z).
So the topology's linear path is set by hand, and its last layer by ridge regression. It costs nothing at
run time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recipes.mini import dims
from recipes.mini.flow_network import FlowNetwork

SCALE = 2.5  # standard deviation of log mels
RIDGE = 10.0
BATCHES = 12
MELS = dims.NUM_MELS
WIDTH = dims.FLOW_WIDTH

FlowBatch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]  # x, prompt, t, style, mu, target velocity


@torch.no_grad()
def set_linear_path(network: FlowNetwork, guess: nn.Linear, mean: Tensor) -> None:
    """`guess` maps [mu, style] to a mel; carry it in the first 80 channels to the last layer."""
    estimator = network.estimator
    get = estimator.get_parameter
    eye = torch.eye(WIDTH, device=mean.device)
    get("cond_projection.weight").copy_(eye)
    get("cond_projection.bias").zero_()
    merge = get("cond_x_merge_linear.weight")
    merge[:, MELS : 2 * MELS] /= 3
    merge[:MELS] = 0
    merge[:MELS, 2 * MELS :] = guess.weight / SCALE
    get("cond_x_merge_linear.bias")[:MELS] = (guess.bias - mean) / SCALE
    for name, parameter in estimator.named_parameters():
        if name.endswith(("attention.wo.weight", "feed_forward.w2.weight")) or "res_skip_layers" in name:
            parameter.mul_(0.3)
        elif name.endswith("skip_in_linear.weight"):
            parameter[:, :WIDTH] = eye
            parameter[:, WIDTH:] *= 0.1
        elif name.endswith("skip_in_linear.bias"):
            parameter.zero_()
    skip = get("skip_linear.weight")
    skip[: 2 * MELS] = 0
    skip[:MELS, WIDTH:] = eye[:MELS, :MELS]
    skip[MELS : 2 * MELS, :MELS] = 1.5 * eye[:MELS, :MELS]
    get("skip_linear.bias").zero_()
    for layer in ("res_projection", "final_layer.linear"):
        get(f"{layer}.weight").copy_(eye)
        get(f"{layer}.bias").zero_()


@torch.no_grad()
def fit_last_layer(network: FlowNetwork, next_batch: Callable[[], tuple[FlowBatch, Tensor]]) -> float:
    """Ridge regression of the velocity on what enters conv2, over frames that are not given.

    Returns:
        mean square error.
    """
    seen: list[Tensor] = []
    layer = network.estimator.get_submodule("final_layer")
    handle = layer.register_forward_hook(lambda _m, _i, out: seen.append(out.float()))
    inputs, wanted = [], []
    for _ in range(BATCHES):
        (x, prompt, t, style, mu, velocity), is_target = next_batch()
        network.velocity(x, prompt, t, style, mu)
        inputs.append(seen.pop()[is_target])
        wanted.append(velocity[is_target])
    handle.remove()
    features = torch.cat(inputs)
    features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    target = torch.cat(wanted)
    normal = features.T @ features + RIDGE * torch.eye(WIDTH + 1, device=features.device)
    solution = torch.linalg.solve(normal, features.T @ target)
    network.estimator.get_parameter("conv2.weight").copy_(solution[:WIDTH].T[:, :, None])
    network.estimator.get_parameter("conv2.bias").copy_(solution[WIDTH])
    return float(((features @ solution - target) ** 2).mean())
