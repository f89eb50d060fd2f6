"""Conformer and perceiver: the details that golden packs do not catch."""

from __future__ import annotations

import math

import torch

from services.gpt_worker.model.conformer import (
    Conformer,
    ConformerDimensions,
    RelativeAttention,
    position_table,
)
from services.gpt_worker.model.perceiver import GatedGelu, Perceiver, PerceiverDimensions


def test_gate_is_the_exact_gelu_of_the_second_half() -> None:
    x = torch.linspace(-3, 3, 8)
    exact = 0.5 * x[4:] * (1 + torch.erf(x[4:] / math.sqrt(2)))
    torch.testing.assert_close(GatedGelu()(x), exact * x[:4], atol=1e-7, rtol=1e-6)
    tanh = torch.nn.functional.gelu(x[4:], approximate="tanh") * x[:4]
    assert (GatedGelu()(x) - tanh).abs().max() > 1e-4


def test_positions_interleave_sine_and_cosine() -> None:
    table = position_table(3, 4, torch.device("cpu"))
    expected = [f(2 / 10000 ** (2 * i / 4)) for i in (0, 1) for f in (math.sin, math.cos)]
    torch.testing.assert_close(table[2], torch.tensor(expected))


def test_attention_scores_use_absolute_positions_without_shift() -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(4, 1)
    torch.nn.init.normal_(attention.pos_bias_u)
    torch.nn.init.normal_(attention.pos_bias_v)
    x, positions = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    query, key = attention.linear_q(x)[0], attention.linear_k(x)[0]
    position = attention.linear_pos(positions)[0]
    scores = (query + attention.pos_bias_u) @ key.T + (query + attention.pos_bias_v) @ position.T
    expected = attention.linear_out((scores / 2).softmax(-1) @ attention.linear_v(x)[0])
    torch.testing.assert_close(attention(x, positions)[0], expected)


def test_conformer_halves_the_frames_and_sees_all_of_them() -> None:
    torch.manual_seed(0)
    conformer = Conformer(ConformerDimensions(24, 16, 24, 2, 1, kernel=9)).eval()
    x = torch.randn(1, 31, 24)
    changed = x.clone()
    changed[0, -2] += 1
    first, second = conformer(x), conformer(changed)
    assert first.shape == (1, 15, 16)
    assert (first[0, 0] - second[0, 0]).abs().max() > 1e-6


def test_perceiver_gives_its_latents_unit_scale_for_any_context() -> None:
    torch.manual_seed(0)
    perceiver = Perceiver(PerceiverDimensions(16, 12, heads=2, feed_forward=8, latents=5, depth=3)).eval()
    for frames in (4, 40):
        latents = perceiver(torch.randn(2, frames, 16))
        assert latents.shape == (2, 5, 12)
        torch.testing.assert_close(latents.norm(dim=-1), torch.full((2, 5), math.sqrt(12)))
