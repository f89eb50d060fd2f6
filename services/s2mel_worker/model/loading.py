"""Reads the stage's networks from a checkpoint directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from services.common.checkpoint import CheckpointConfig, CheckpointFiles
from services.common.stage.settings import VoiceEncoders
from services.common.voice_networks import VoiceNetworks
from services.common.weights import fuse_weight_norm, load_into, read_state
from services.s2mel_worker.model import codec, dit, length_regulator
from services.s2mel_worker.model.campplus import dimensions_from_state
from services.s2mel_worker.model.stage import S2MelStageModel

__all__ = ["S2MelStageModel", "load_s2mel_stage"]


def load_s2mel_stage(
    files: CheckpointFiles,
    config: CheckpointConfig,
    device: torch.device | str = "cpu",
    voice_encoders: VoiceEncoders = "device",
) -> S2MelStageModel:
    """Build the stage with a checkpoint's sizes and weights, in evaluation mode and float32.

    Args:
        files: the checkpoint.
        config: its config.yaml.
        device: where the flow computes.
        voice_encoders: where the style network and the codec's encoder live, which only a new voice needs.

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
    model = model.to(device).eval().requires_grad_(requires_grad=False)
    model.voice_networks = VoiceNetworks(
        [model.campplus, model.codec.encoder],
        place=voice_encoders,
        device=torch.device(device),
        restore=lambda: fill_voice_networks(model, files),
    )
    return model


def fill_voice_networks(model: S2MelStageModel, files: CheckpointFiles) -> None:
    """Read the weights of the style network and of the codec's encoder again."""
    _load(model.campplus, read_state(files.campplus), files.campplus)
    state = fuse_weight_norm(read_state(files.semantic_codec))
    own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    load_into(model.codec.encoder, own, source=files.semantic_codec.name)


def _load(module: nn.Module, state: dict[str, Tensor], source: Path, unused: Sequence[str] = ()) -> None:
    load_into(module, fuse_weight_norm(state), source=source.name, ignore=unused)


def _inner_widths(state: dict[str, Tensor]) -> tuple[int, ...]:
    """Output widths of all linear layers but the last."""
    return tuple(state[f"{n}.weight"].shape[0] for n in range(len(state) // 2 - 1))
