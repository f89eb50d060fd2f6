"""A checkpoint in the published form, weight norm and half precision included, comes back as the stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from services.common.checkpoint import CheckpointError, CheckpointFiles, load_config
from services.s2mel_worker.model import codec, dit
from services.s2mel_worker.model.loading import load_s2mel_stage
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.weight_norm import add_weight_norm
from tests.model.s2mel.conftest import LATENT_WIDTHS, STYLE, shake, tiny_config


def half(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}


@pytest.fixture(scope="module")
def original() -> S2MelStageModel:
    torch.manual_seed(2)
    model = S2MelStageModel(tiny_config(), STYLE, LATENT_WIDTHS).eval()
    shake(model)
    model.half().float()
    add_weight_norm(model.codec, codec.WEIGHT_NORMED)
    add_weight_norm(model.cfm, dit.WEIGHT_NORMED)
    # Magnitude and direction are what the file rounds.
    for name, parameter in model.named_parameters():
        if name.endswith(("_g", "_v")):
            parameter.data = parameter.data.half().float()
    return model


@pytest.fixture(scope="module")
def files(original: S2MelStageModel, tmp_path_factory: pytest.TempPathFactory) -> CheckpointFiles:
    directory: Path = tmp_path_factory.mktemp("checkpoint")
    config = tiny_config()
    (directory / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    files = CheckpointFiles.locate(directory, config)
    files.campplus.parent.mkdir()
    torch.save(half(original.campplus), files.campplus)
    unused = {"decoder.1.bias": torch.zeros(3)}
    save_file(half(original.codec) | unused, files.semantic_codec)
    net = {
        "cfm": {f"module.{k}": v for k, v in half(original.cfm).items()}
        | {"estimator.input_pos": torch.arange(9), "estimator.x_embedder.bias": torch.zeros(3)},
        "length_regulator": half(original.length_regulator) | {"mask_token": torch.zeros(1, 18)},
        "gpt_layer": half(original.gpt_layer),
    }
    torch.save({"net": net}, files.s2mel)
    return files


@torch.inference_mode()
def test_loaded_stage_computes_what_was_saved(original: S2MelStageModel, files: CheckpointFiles) -> None:
    loaded = load_s2mel_stage(files, load_config(files.directory))
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert not loaded.training
    generator = torch.Generator().manual_seed(1)
    audio = 0.1 * torch.randn(8000, generator=generator)
    spk_cond = torch.randn(18, 16, generator=generator)
    voice, expected = (stage.prompt(audio, audio, spk_cond) for stage in (loaded, original))
    assert torch.equal(voice["prompt_codes"], expected["prompt_codes"])
    torch.testing.assert_close(voice["style"], expected["style"], rtol=1e-4, atol=1e-5)
    codes, latents = torch.arange(12), torch.randn(12, 14, generator=generator)
    noise = torch.randn(20, 80, generator=generator)
    mels = []
    for stage in (loaded, original):
        condition = torch.cat((expected["prompt_condition"], stage.cond(codes, latents)))
        mels.append(stage.flow(condition, expected["prompt_mel"], expected["style"], noise, 2, 0.7))
    torch.testing.assert_close(*mels, rtol=1e-4, atol=1e-4)


def test_a_missing_tensor_is_named(files: CheckpointFiles, tmp_path: Path) -> None:
    content = torch.load(files.s2mel, weights_only=True)
    del content["net"]["cfm"]["module.estimator.conv1.weight"]
    content["net"]["cfm"]["estimator.surplus"] = torch.zeros(1)
    other = tmp_path / "copy"
    other.symlink_to(files.directory)
    broken = CheckpointFiles.locate(other)
    object.__setattr__(broken, "s2mel", tmp_path / "s2mel.pth")
    torch.save(content, broken.s2mel)
    with pytest.raises(CheckpointError, match=r"(?s)missing: estimator.conv1.weight.*estimator.surplus"):
        load_s2mel_stage(broken, load_config(files.directory))
