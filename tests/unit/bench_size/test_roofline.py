"""The counted operations are those of the networks, and predictions follow from peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.roofline import ops, plans
from bench.roofline.devices import Device
from bench.roofline.ops import Op
from bench.stages.workload import FULL, TOY, Sizes, Workload
from services.common.indextts2 import streaming_policies
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.unified_voice import UnifiedVoice
from services.s2mel_worker.model.flow import Flow
from services.s2mel_worker.model.stage import S2MelStageModel
from services.vocoder_worker.export.bigvgan import BigVgan, BigVganConfig

BOTH = pytest.mark.parametrize("sizes", [FULL, TOY], ids=lambda sizes: sizes.name)


def counted(compute: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        compute()
    return int(counter.get_total_flops())


def flops(made: Sequence[Op]) -> float:
    return sum(op.flops for op in made)


@BOTH
def test_an_euler_step_counts_what_the_estimator_computes(sizes: Sizes) -> None:
    config, frames = sizes.config.s2mel, 120
    with torch.device("meta"):
        flow = Flow.from_config(config)
        bins, width = config.DiT.in_channels, config.DiT.content_dim
        x, style, mu = torch.zeros(2, bins, frames), torch.zeros(2, 192), torch.zeros(2, frames, width)
    found = counted(lambda: flow.estimator(x, x, None, torch.zeros(2), style, mu))
    assert flops(ops.euler_step(sizes, frames)) == pytest.approx(found, rel=1e-3)


@BOTH
def test_positions_of_the_gpt_count_what_its_trunk_computes(sizes: Sizes) -> None:
    """torch counts every score of a causal attention, also those behind the mask; so does this."""
    with torch.device("meta"):
        model = UnifiedVoice(GptDimensions.from_config(sizes.config))
        x = torch.zeros(1, 50, sizes.config.gpt.model_dim)
    found = counted(lambda: model.mel_head(model.gpt(x)[0, -1:]))
    assert flops(ops.gpt_positions(sizes, 1, 50, 0, scored=1)) == pytest.approx(found, rel=1e-3)


def test_the_vocoder_counts_what_the_network_computes() -> None:
    with torch.device("meta"):
        network = BigVgan(BigVganConfig.from_mapping(dict(TOY.bigvgan)))
        mel = torch.zeros(1, 80, 30)
    assert flops(ops.vocoder(TOY, 30)) == pytest.approx(counted(lambda: network(mel)), rel=1e-2)


@BOTH
def test_the_condition_counts_what_latents_and_codes_go_through(sizes: Sizes) -> None:
    with torch.device("meta"):
        stage = S2MelStageModel(sizes.config)
        codes = torch.zeros(1, 40, dtype=torch.long)
        latents = torch.zeros(40, sizes.config.gpt.model_dim)
        index = torch.zeros(1, 68, dtype=torch.long)

    def compute() -> None:
        features = stage.codec.vq2emb(codes)[0] + stage.gpt_layer(latents)
        stage.length_regulator(features[None], index)

    assert flops(ops.condition(sizes, 40, 68)) == pytest.approx(counted(compute), rel=1e-2)


def test_full_size_counts_are_those_that_were_published() -> None:
    load = Workload()
    assert flops(ops.prefill(FULL, load)) == pytest.approx(73e9, rel=0.01)
    assert flops(ops.decode_step(FULL, load)) == pytest.approx(0.99e9, rel=0.01)
    assert flops(ops.euler_step(FULL, 860)) == pytest.approx(295e9, rel=0.01)
    assert flops(ops.vocoder(FULL, 430)) == pytest.approx(788e9, rel=0.01)


def test_an_op_takes_the_longer_of_computing_and_moving() -> None:
    device = Device("made up", 1.0, 0.5, 1.0, reached_compute=1.0, reached_bandwidth=1.0)
    assert device.seconds([Op(flops=2e12, elements=1)]) == pytest.approx(2.0)
    assert device.seconds([Op(flops=1, elements=2e9)]) == pytest.approx(4.0)
    assert device.seconds([Op(flops=2e12, elements=1)], is_vocoder=True) == pytest.approx(4.0)


def test_half_the_steps_are_half_the_flow() -> None:
    device = Device("made up", 1.0, 0.5, 100.0)
    policy = streaming_policies(FULL.config)[0]
    times = []
    for steps in (8, 16):
        plan = plans.streamed(FULL, Workload(), replace(policy, params={"steps": steps}))
        times.append(plan.seconds(device)[1])
    assert times[1] / times[0] == pytest.approx(2.0, rel=0.02)


def test_the_first_audio_is_less_work_than_the_whole_stream() -> None:
    for policy in streaming_policies(FULL.config):
        first = plans.first_audio(FULL, Workload(), policy)
        everything = plans.streamed(FULL, Workload(), policy)
        assert flops(first.s2mel) < flops(everything.s2mel)
        assert flops(first.gpt) < flops(everything.gpt)
        assert flops(first.vocoder) < flops(everything.vocoder)
