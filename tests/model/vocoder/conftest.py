"""A tiny vocoder with random weights, as a network and as a checkpoint directory with its graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from services.common.checkpoint import CheckpointFiles
from services.vocoder_worker.export.__main__ import export
from services.vocoder_worker.export.bigvgan import BigVgan, BigVganConfig, add_weight_norm
from services.vocoder_worker.model.provider import Wanted
from services.vocoder_worker.model.session import VocoderSession, load_vocoder

CONFIG: dict[str, Any] = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 80,
    "hop_size": 8,
}


def tiny_vocoder() -> BigVgan:
    torch.manual_seed(3)
    network = BigVgan(BigVganConfig.from_mapping(CONFIG)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        network.conv_post.weight.mul_(0.3)
    return network.requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def network() -> BigVgan:
    return tiny_vocoder()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> CheckpointFiles:
    """An exported checkpoint; tests must not change it."""
    return write_checkpoint(tmp_path_factory.mktemp("vocoder"))


@pytest.fixture(scope="session")
def vocoder(files: CheckpointFiles) -> VocoderSession:
    return load_vocoder(files, Wanted(device="cpu"))


def write_checkpoint(directory: Path) -> CheckpointFiles:
    (directory / "config.yaml").write_text("{}")
    files = CheckpointFiles.locate(directory)
    files.bigvgan.parent.mkdir(parents=True)
    files.bigvgan_config.write_text(json.dumps(CONFIG))
    stored = tiny_vocoder()
    add_weight_norm(stored)
    torch.save({"generator": stored.state_dict()}, files.bigvgan)
    export(files)
    return files
