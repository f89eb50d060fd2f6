"""The velocity estimator: padded batches, masks, constants that goldens do not show, training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from services.common.checkpoint import S2MelConfig, WavenetConfig
from services.s2mel_worker.model.dit import WEIGHT_NORMED, DiT, FinalLayer, rope_table, rotate
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.wavenet import Conv
from services.s2mel_worker.model.weight_norm import add_weight_norm
from tests.model.s2mel.conftest import tiny_config

LENGTHS = (40, 23, 33)


def inputs(padding: float) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    x, prompt = torch.randn(2, 3, 80, 40, generator=generator)
    mu = torch.randn(3, 40, 18, generator=generator)
    for row, length in enumerate(LENGTHS):
        x[row, :, length:] = prompt[row, :, length:] = mu[row, length:] = padding
    style = torch.randn(3, 12, generator=generator)
    return x, prompt, torch.tensor(LENGTHS), torch.tensor([0.1, 0.5, 0.9]), style, mu


@pytest.mark.parametrize("padding", [0.0, 1e4, float("inf"), float("nan")])
def test_items_of_a_padded_batch_equal_their_own_runs(stage: S2MelStageModel, padding: float) -> None:
    x, prompt, lengths, time, style, mu = inputs(padding)
    estimator = stage.cfm.estimator
    batch = estimator(x, prompt, lengths, time, style, mu)
    for row, n in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone = estimator(x[one, :, :n], prompt[one, :, :n], None, time[one], style[one], mu[one, :n])
        torch.testing.assert_close(batch[one, :, :n], alone, rtol=1e-5, atol=1e-5)


def test_without_the_mirror_image_padding_would_show(stage: S2MelStageModel) -> None:
    """Shows that the test above can fail: zeros behind the last frame are not enough for a WaveNet."""
    generator = torch.Generator().manual_seed(4)
    x, time = torch.randn(1, 32, 30, generator=generator), torch.randn(1, 32, generator=generator)
    wavenet = stage.cfm.estimator.wavenet
    alone = wavenet(x, time)
    padded = F.pad(x, (0, 9))
    torch.testing.assert_close(wavenet(padded, time, torch.tensor([30]))[..., :30], alone, rtol=1e-5, atol=1e-5)
    assert (wavenet(padded, time)[..., :30] - alone).abs().max() > 1e-3


def test_convolution_mirrors_the_last_frames() -> None:
    layer = Conv(1, 1, 5)
    layer.conv["conv"].load_state_dict({"weight": torch.tensor([[[0.0, 0, 0, 1, 10]]]), "bias": torch.zeros(1)})
    row = torch.tensor([[[1.0, 2, 3, 4]]])
    assert layer(row).flatten().tolist() == [32, 43, 34, 23]
    longer = F.pad(row, (0, 3), value=99)
    assert layer(longer, torch.tensor([4]))[..., :4].flatten().tolist() == [32, 43, 34, 23]


def test_last_layer_norm_is_steadied_by_1e_minus_6() -> None:
    """Where frames hardly vary, 1e-5 would give a third of this."""
    layer = FinalLayer(4)
    blank = {name: torch.zeros_like(value) for name, value in layer.state_dict().items()}
    layer.load_state_dict(blank | {"linear.weight": torch.eye(4)})
    x = 1e-3 * torch.tensor([[[1.0, -1, 1, -1]]])
    expected = (1e-3 / (1e-6 + 1e-6) ** 0.5) * torch.tensor([[[1.0, -1, 1, -1]]])
    torch.testing.assert_close(layer(x, torch.zeros(1, 4)), expected)


def test_rotation_turns_neighbouring_pairs() -> None:
    table = rope_table(3, 4, torch.device("cpu"))
    x = torch.tensor([1.0, 0, 0, 1]).expand(1, 3, 1, 4)
    turned = rotate(x, table)[0, 2, 0]
    slow = 2 * 10000**-0.5
    expected = [
        torch.tensor(2.0).cos(),
        torch.tensor(2.0).sin(),
        -torch.tensor(slow).sin(),
        torch.tensor(slow).cos(),
    ]
    torch.testing.assert_close(turned, torch.stack(expected))


@pytest.mark.parametrize("changed", range(5))
def test_every_input_moves_the_velocity(stage: S2MelStageModel, changed: int) -> None:
    x, prompt, _, time, style, mu = (part[:1] for part in inputs(0.0))
    arguments = [x, prompt, time, style, mu]
    reference = stage.cfm.estimator(x, prompt, None, time, style, mu)
    arguments[changed] = arguments[changed] * 0.5
    x, prompt, time, style, mu = arguments
    moved = stage.cfm.estimator(x, prompt, None, time, style, mu)
    assert (moved - reference).norm() > 1e-3 * reference.norm()


def test_all_but_the_early_skips_can_be_trained() -> None:
    torch.manual_seed(0)
    estimator = DiT.from_config(tiny_config().s2mel)
    add_weight_norm(estimator, WEIGHT_NORMED)
    x, prompt, lengths, time, style, mu = inputs(0.0)
    estimator(x, prompt, lengths, time, style, mu).square().mean().backward()
    idle = [name for name, parameter in estimator.named_parameters() if parameter.grad is None]
    expected = [f"transformer.layers.{n}.skip_in_linear.{kind}" for n in range(3) for kind in ("weight", "bias")]
    assert idle == expected


def test_different_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_dim"):
        DiT.from_config(S2MelConfig(wavenet=WavenetConfig(hidden_dim=256)))
