"""The velocity as it is served against the network that it is made from."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from services.s2mel_worker.model.frames import Frames, Span
from services.s2mel_worker.model.stage import S2MelStageModel
from services.s2mel_worker.model.velocity import VelocityNetwork

BINS, CONTENT, STYLE = 80, 18, 12


def inputs(num_frames: int, num_known: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(num_frames)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x = noise(num_frames, BINS)
    x[:num_known] = 0
    return {"x": x, "mel": noise(num_known, BINS), "mu": noise(num_frames, CONTENT), "style": noise(STYLE)}


def published(stage: S2MelStageModel, given: dict[str, Tensor], time: float, cfg_rate: float = 0.0) -> Tensor:
    """Velocity (T, M), computed by the network that training knows."""
    x, estimator, at = given["x"].T[None], stage.cfm.estimator, torch.tensor([time])
    prompt = torch.zeros_like(x)
    prompt[..., : len(given["mel"])] = given["mel"].T
    style, mu = given["style"][None], given["mu"][None]
    velocity = estimator(x, prompt, None, at, style, mu)
    if cfg_rate:
        without = estimator(x, prompt * 0, None, at, style * 0, mu * 0)
        velocity = (1 + cfg_rate) * velocity - cfg_rate * without
    return velocity[0].T  # type: ignore[no-any-return]


def served(network: VelocityNetwork, given: dict[str, Tensor], time: float, cfg_rate: float = 0.0) -> Tensor:
    """Velocity of the unknown frames (T - known, M)."""
    span = Span(len(given["x"]), len(given["mel"]), network.reach)
    condition = network.condition(given["mel"], given["mu"], given["style"])
    frames = Frames.of([span] * (2 if cfg_rate else 1), network.num_taps, network.device)
    modulation = network.modulation(torch.tensor([time]))
    tails = network(given["x"][None], condition[None], modulation, frames, is_guided=cfg_rate > 0)[:, 0]
    tail = tails[0] + cfg_rate * (tails[0] - tails[-1])
    return tail[span.num_known - span.tail_start :]


@pytest.mark.parametrize("cfg_rate", [0.0, 0.7])
@pytest.mark.parametrize(("num_frames", "num_known"), [(40, 25), (40, 3), (12, 9), (70, 1)])
def test_it_equals_the_published_network(
    stage: S2MelStageModel, num_frames: int, num_known: int, cfg_rate: float
) -> None:
    given = inputs(num_frames, num_known)
    for time in (0.0, 0.3, 0.96):
        expected = published(stage, given, time, cfg_rate)[num_known:]
        torch.testing.assert_close(served(stage.velocity, given, time, cfg_rate), expected, rtol=1e-5, atol=2e-5)


def test_a_tail_shorter_than_the_wavenet_reaches_would_show(stage: S2MelStageModel) -> None:
    """Shows that the test above can fail."""
    network, given = stage.velocity, inputs(40, 25)
    span = Span(40, 25, network.reach - 3)
    condition, modulation = network.condition(given["mel"], given["mu"], given["style"]), torch.tensor([0.3])
    frames = Frames.of([span], network.num_taps, network.device)
    tail = network(given["x"][None], condition[None], network.modulation(modulation), frames, is_guided=False)[0, 0]
    short = tail[span.num_known - span.tail_start :]
    assert (short - published(stage, given, 0.3)[25:]).abs().max() > 1e-4


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_is_close(stage: S2MelStageModel, dtype: torch.dtype, most: float) -> None:
    given = inputs(40, 25)
    half = served(VelocityNetwork(stage.cfm.estimator, dtype), given, 0.3, 0.7)
    error = (half - published(stage, given, 0.3, 0.7)[25:]).abs().max()
    assert half.dtype == torch.float32
    assert 0 < error < most


@pytest.mark.parametrize("padding", [0.0, 1e4])
def test_items_of_a_padded_batch_equal_their_own_runs(stage: S2MelStageModel, padding: float) -> None:
    """At times, prompts and lengths of their own, whatever stands behind their last frames."""
    network = stage.velocity
    items = [inputs(40, 25), inputs(31, 3), inputs(47, 40)]
    times, spans = (
        [0.1, 0.5, 0.9],
        [Span(40, 25, network.reach), Span(31, 3, network.reach), Span(47, 40, network.reach)],
    )
    x, condition = torch.full((3, 50, BINS), padding), torch.full((3, 50, network.width), padding)
    for row, item in enumerate(items):
        x[row, : len(item["x"])] = item["x"]
        condition[row, : len(item["x"])] = network.condition(item["mel"], item["mu"], item["style"])
    frames = Frames.of(spans * 2, network.num_taps, network.device, num_frames=50, num_tail_frames=40)
    with_condition, without = network(x, condition, network.modulation(torch.tensor(times)), frames, is_guided=True)
    rates = [0.7, 0.2, 1.5]
    batch = with_condition + torch.tensor(rates)[:, None, None] * (with_condition - without)
    for row, (item, time, span) in enumerate(zip(items, times, spans, strict=True)):
        alone = served(network, item, time, rates[row])
        mine = batch[row, span.num_known - span.tail_start : span.tail_frames]
        torch.testing.assert_close(mine, alone, rtol=1e-5, atol=2e-5)


def test_longer_renders_than_the_table_holds_are_turned_alike(
    stage: S2MelStageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.s2mel_worker.model.velocity.MAX_FRAMES", 16)
    small, given = VelocityNetwork(stage.cfm.estimator), inputs(40, 25)
    assert torch.equal(served(small, given, 0.3), served(stage.velocity, given, 0.3))


def test_every_time_is_told_alone_as_in_a_table(stage: S2MelStageModel) -> None:
    times = torch.linspace(0, 1, 9)
    table = stage.velocity.modulation(times)
    for time, row in zip(times, table, strict=True):
        torch.testing.assert_close(stage.velocity.modulation(time[None])[0], row, rtol=1e-5, atol=1e-5)
    assert all((a - b).abs().max() > 1e-3 for a, b in pairwise(table))
