"""What a recording becomes: codes and style."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from services.s2mel_worker.model.campplus import CamPlus, ContextMask, dimensions_from_state
from services.s2mel_worker.model.codec import FactorisedQuantizer
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from tests.model.s2mel.conftest import STYLE


def test_a_voice_has_the_promised_shapes(voice: Voice) -> None:
    assert voice["style"].shape == (12,)
    assert voice["prompt_codes"].shape == (50,)
    assert voice["prompt_codes"].dtype == torch.int64
    assert voice["prompt_condition"].shape == (86, 18)
    assert voice["prompt_mel"].shape == (86, 80)
    assert len(set(voice["prompt_codes"].tolist())) > 5


def test_another_recording_is_another_voice(stage: S2MelStageModel, voice: Voice) -> None:
    generator = torch.Generator().manual_seed(6)
    audio = 0.1 * torch.randn(22050, generator=generator)
    other = stage.prompt(audio, audio[:16000], torch.randn(50, 16, generator=generator))
    assert (other["style"] - voice["style"]).abs().max() > 1e-3
    assert not torch.equal(other["prompt_codes"], voice["prompt_codes"])
    assert (other["prompt_mel"] - voice["prompt_mel"]).abs().max() > 1e-3


def test_codes_are_nearest_by_angle_but_looked_up_as_they_are() -> None:
    quantizer = FactorisedQuantizer(2, 2, 2)
    quantizer.codebook.weight.data = torch.tensor([[10.0, 0.0], [0.1, 0.1]])
    for layer in (quantizer.in_project, quantizer.out_project):
        layer.load_state_dict({"weight": torch.eye(2)[..., None], "bias": torch.zeros(2)})
    # Nearer to row 1 in the plane, nearer to row 0 in angle.
    codes, features = quantizer(torch.tensor([[[1.0], [0.2]]]))
    assert codes.tolist() == [[0]]
    torch.testing.assert_close(features, torch.tensor([[[10.0, 0.0]]]))


def test_codes_of_a_batch_are_those_of_its_items(stage: S2MelStageModel) -> None:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(3, 30, 16, generator=generator)
    lengths = torch.tensor([30, 11, 22])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = 1e4
    codes, quantised = stage.codec.quantize(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, vectors = stage.codec.quantize(features[row : row + 1, :length])
        assert torch.equal(codes[row, :length], alone[0])
        torch.testing.assert_close(quantised[row, :length], vectors[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stage.codec.vq2emb(codes)[1], stage.codec.vq2emb(codes[1:2])[0])


def test_quantised_features_are_those_of_their_codes(stage: S2MelStageModel) -> None:
    codes, quantised = stage.codec.quantize(torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(quantised, stage.codec.vq2emb(codes), rtol=1e-5, atol=1e-5)


def test_sizes_can_be_read_off_a_style_network() -> None:
    assert dimensions_from_state(CamPlus(STYLE).state_dict()) == STYLE
    with torch.device("meta"):
        official = CamPlus()
    assert dimensions_from_state(official.state_dict()) == official.dimensions


def test_the_last_segment_averages_the_frames_it_has() -> None:
    mask = ContextMask(2, 2, dilation=1)
    for layer in (mask.linear1, mask.linear2):
        layer.load_state_dict({k: torch.full_like(v, k == "weight") for k, v in layer.state_dict().items()})
    x = torch.zeros(1, 2, 150)
    x[..., 100:] = 1
    local = torch.zeros(150)
    local[100:] = 1
    context = x.mean() + local
    expected = mask.linear_local(x) * torch.sigmoid(2 * F.relu(context))[None, None]
    torch.testing.assert_close(mask(x), expected)
