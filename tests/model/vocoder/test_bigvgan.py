"""The torch vocoder: official names, and its activation against the textbook form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from services.vocoder_worker.export.bigvgan import (
    Activation,
    BigVgan,
    BigVganConfig,
    add_weight_norm,
    kaiser_sinc,
)
from tests.model.vocoder.conftest import CONFIG, tiny_vocoder

FULL_SIZE = Path(__file__).parents[2] / "golden" / "fullsize_keys.json.gz"


def full_size() -> dict[str, Any]:
    return CONFIG | {
        "upsample_rates": [4, 4, 2, 2, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
        "upsample_initial_channel": 1536,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "hop_size": 256,
    }


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = BigVgan(BigVganConfig.from_mapping(full_size()))
        add_weight_norm(network)
    content = json.loads(gzip.decompress(FULL_SIZE.read_bytes()))["files"]
    published = content["hf_cache/bigvgan/bigvgan_generator.pt"]["keys"]
    expected = {name.removeprefix("generator."): entry["shape"] for name, entry in published.items()}
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == expected


def textbook(activation: Activation, x: Tensor) -> Tensor:
    """Transposed convolution, SnakeBeta, convolution, as §8.2 has it."""
    channels = x.shape[1]
    taps = kaiser_sinc().expand(channels, 1, -1)
    u = 2 * F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), taps, stride=2, groups=channels)[..., 15:-15]
    alpha, beta = activation.act.alpha.exp()[:, None], activation.act.beta.exp()[:, None]
    u = u + torch.sin(u * alpha) ** 2 / (beta + 1e-9)
    return F.conv1d(F.pad(u, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 64])
def test_activation_in_phases_equals_the_textbook_form(length: int) -> None:
    torch.manual_seed(length)
    activation = Activation(3)
    with torch.no_grad():
        activation.act.alpha.normal_()
        activation.act.beta.normal_()
    x = torch.randn(2, 3, length)
    torch.testing.assert_close(activation(x), textbook(activation, x), rtol=1e-5, atol=2e-6)


def test_filter_sums_to_one_and_is_symmetric() -> None:
    taps = kaiser_sinc()
    assert taps.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(taps, taps.flip(0))


def test_waveform_has_a_hop_of_samples_for_each_frame(network: BigVgan) -> None:
    wave = network(torch.randn(2, 80, 7))
    assert wave.shape == (2, 1, 7 * 8)
    assert wave.std() > 1e-3


def test_loud_output_is_clamped(network: BigVgan) -> None:
    """No golden reaches the clamp."""
    loud = tiny_vocoder()
    loud.conv_post.weight.mul_(1e4)
    mel = torch.randn(1, 80, 5)
    wave = loud(mel)
    assert wave.max() == 1
    assert wave.min() == -1
    assert torch.equal(wave.sign(), network(mel).sign())


def test_every_parameter_can_be_trained() -> None:
    network = BigVgan(BigVganConfig.from_mapping(CONFIG))
    add_weight_norm(network)
    network(torch.randn(1, 80, 4)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("key", "value"), [("activation", "snake"), ("resblock", "2"), ("snake_logscale", False)])
def test_other_kinds_of_vocoder_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{key} = {value!r}"):
        BigVganConfig.from_mapping(CONFIG | {key: value})


def test_rates_must_make_the_hop() -> None:
    with pytest.raises(ValueError, match="hop size"):
        BigVganConfig.from_mapping(CONFIG | {"hop_size": 256})
