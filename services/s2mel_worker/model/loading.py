"""Reads the stage's networks from a checkpoint directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from services.common.checkpoint import CheckpointConfig, CheckpointFiles
from services.common.weights import fuse_weight_norm, load_into, read_state
from services.s2mel_worker.model import codec, dit, length_regulator
from services.s2mel_worker.model.campplus import dimensions_from_state
from services.s2mel_worker.model.stage import S2MelStageModel

__all__ = ["S2MelStageModel", "load_s2mel_stage"]


def load_s2mel_stage(
    files: CheckpointFiles, config: CheckpointConfig, device: torch.device | str = "cpu"
) -> S2MelStageModel:
    """Build the stage with a checkpoint's sizes and weights, in evaluation mode and float32.

    Raises:
        CheckpointError: naming files or tensors that are missing, unknown or of another shape.
    """
    files.require("s2mel", "semantic_codec", "campplus")
    style_state = read_state(files.campplus)
    latent_state = read_state(files.s2mel, "net", "gpt_layer")
    with torch.device("meta"):
        model = S2MelStageModel(config, dimensions_from_state(style_state), _inner_widths(latent_state))
    _load(model.campplus, style_state, files.campplus)
    _load(model.codec, read_state(files.semantic_codec), files.semantic_codec, codec.UNUSED)
    _load(model.gpt_layer, latent_state, files.s2mel)
    _load(
        model.length_regulator,
        read_state(files.s2mel, "net", "length_regulator"),
        files.s2mel,
        length_regulator.UNUSED,
    )
    estimator_unused = [rf"estimator\.({name})" for name in dit.UNUSED]
    _load(model.cfm, read_state(files.s2mel, "net", "cfm"), files.s2mel, estimator_unused)
    return model.to(device).eval().requires_grad_(requires_grad=False)


def _load(module: nn.Module, state: dict[str, Tensor], source: Path, unused: Sequence[str] = ()) -> None:
    load_into(module, fuse_weight_norm(state), source=source.name, ignore=unused)


def _inner_widths(state: dict[str, Tensor]) -> tuple[int, ...]:
    """Output widths of all linear layers but the last."""
    return tuple(state[f"{n}.weight"].shape[0] for n in range(len(state) // 2 - 1))
