"""Numeric modes of the trunk's linear layers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from services.common.checkpoint import CheckpointError
from services.gpt_worker.model import linear
from services.gpt_worker.model.linear import Float16Linear, InOutLinear, ShortLinear, converted
from services.gpt_worker.model.unified_voice import UnifiedVoice

HAS_FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines
needs_fbgemm = pytest.mark.skipif(not HAS_FBGEMM, reason="torch has no FBGEMM here")


def layer() -> InOutLinear:
    torch.manual_seed(2)
    made = InOutLinear(48, 32)
    made.bias.data.normal_()
    return made.requires_grad_(False)


@needs_fbgemm
@pytest.mark.parametrize(("mode", "most"), [("float16", 1e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("count", [1, 7])
def test_a_converted_layer_is_close_to_its_source(mode: str, most: float, count: int) -> None:
    source, x = layer(), torch.randn(count, 48)
    exact, made = source(x), converted(source, mode)(x)
    assert made.dtype == torch.float32
    assert 0 < (made - exact).abs().max() / exact.abs().max() < most


@needs_fbgemm
def test_weights_that_float16_holds_are_kept_in_it_and_give_the_same_products() -> None:
    source, x = layer(), torch.randn(3, 48)
    assert converted(source, "float32") is source
    source.weight.copy_(source.weight.half())
    made = converted(source, "float32")
    assert isinstance(made, Float16Linear)
    torch.testing.assert_close(made(x), source(x), atol=1e-6, rtol=1e-5)


@needs_fbgemm
@pytest.mark.parametrize("mode", ["float16", "bfloat16"])
def test_a_row_does_not_depend_on_what_was_computed_before(mode: str) -> None:
    made, x = converted(layer(), mode), torch.randn(1, 48)
    first = made(x)
    made(torch.randn(5, 48) * 100)
    assert torch.equal(made(x), first)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_a_layer_for_gpus_takes_float32_and_gives_its_own_type(dtype: torch.dtype, most: float) -> None:
    """float16 is for cards that have no bfloat16 of their own."""
    source, x = layer(), torch.randn(3, 48)
    made = ShortLinear(source, dtype)(x)
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), source(x), atol=most, rtol=most)


def test_a_mode_that_the_cpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_has_fbgemm", lambda: False)
    source = layer()
    source.weight.copy_(source.weight.half())
    assert converted(source, "float32") is source
    with pytest.raises(CheckpointError, match="dtype fp16 is set, but torch has no FBGEMM"):
        converted(source, "float16")


@needs_fbgemm
@pytest.mark.parametrize("mode", ["float16", "bfloat16"])
def test_a_converted_trunk_decodes_and_reads_whole_sequences_alike(
    voice: UnifiedVoice, conds: Tensor, mode: str
) -> None:
    other = deepcopy(voice)
    other.gpt.convert(mode)
    prefix = other.embed_prefix(conds, other.frame_text([5, 9]))
    cached = other.prefill(prefix, other.gpt.new_cache(1, 64), 0).latent
    whole = other.final_norm(other.gpt(prefix))[0, -1]
    assert (cached - voice.final_norm(voice.gpt(prefix))[0, -1]).abs().max() > 0
    torch.testing.assert_close(cached, whole, atol=0.1, rtol=0.1)
    assert not any(isinstance(module, InOutLinear) for module in other.gpt.modules())
