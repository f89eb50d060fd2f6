"""A speech goes through both engines as a stream would, and what each packet needed is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.quality.material import Voice
from bench.quality.policies import yardstick
from bench.quality.rendering import Renderer, render
from bench.quality.stages import Stages
from services.common.errors import InvalidRequestError
from services.common.stage.policy import Policy
from tests.unit.quality.walking_engines import HOP, WalkingEngine, speech_of

POLICY = Policy(codes_per_chunk=1, first_window_codes=4, look_ahead_codes=2)


def test_windows_are_rendered_one_after_another_and_joined(stages: Stages, voice: Voice) -> None:
    rendered = render(stages, speech_of(voice, 10), POLICY)

    assert rendered.mel[:, 0].tolist() == list(range(1, 11))
    assert rendered.window_starts == [4, 8]
    assert rendered.vocoder_starts(HOP) == [4, 8]
    assert np.array_equal(rendered.samples, np.repeat(np.arange(1, 11), HOP).astype(np.float32) / 32768)


@pytest.mark.parametrize(("codes_per_chunk", "codes_needed"), [(1, [6, 10, 10]), (5, [10, 10, 10]), (3, [6, 10, 10])])
def test_a_packet_needs_its_look_ahead_in_whole_groups_of_codes(
    stages: Stages, voice: Voice, codes_per_chunk: int, codes_needed: list[int]
) -> None:
    rendered = render(stages, speech_of(voice, 10), replace(POLICY, codes_per_chunk=codes_per_chunk))

    assert [packet.num_codes for packet in rendered.packets] == codes_needed


def test_packets_tile_the_sound_and_their_cost_grows(stages: Stages, voice: Voice) -> None:
    packets = render(stages, speech_of(voice, 23), POLICY).packets

    assert [packet.start for packet in packets] == [4 * HOP * number for number in range(len(packets))]
    assert packets[-1].start + packets[-1].num_samples == 23 * HOP
    costs = [packet.cpu_seconds for packet in packets]
    assert costs == sorted(costs)
    assert costs[0] > 0


def test_a_whole_render_is_one_window_of_all_codes(stages: Stages, voice: Voice) -> None:
    whole = render(stages, speech_of(voice, 10), yardstick(POLICY))

    assert whole.window_starts == []
    assert [(packet.num_samples, packet.num_codes) for packet in whole.packets] == [(10 * HOP, 10)]


def test_both_renders_have_the_seed_and_the_voice_of_the_speech(stages: Stages, voice: Voice) -> None:
    render(stages, speech_of(voice, 10, seed=7), POLICY)
    render(stages, speech_of(voice, 10, seed=7), yardstick(POLICY))

    assert isinstance(stages.s2mel, WalkingEngine)
    assert [session.seed for session in stages.s2mel.sessions] == [7, 7]


def test_a_parameter_comes_from_the_policy_then_the_stage(stages: Stages, voice: Voice) -> None:
    profile = replace(POLICY, params={"gain": 2.0, "of_another_stage": 9.0})

    assert render(stages, speech_of(voice, 10), POLICY).mel[0, 0] == 1
    assert render(stages, speech_of(voice, 10), profile).mel[0, 0] == 2


def test_policies_that_differ_in_the_vocoder_alone_share_their_mel(stages: Stages, voice: Voice) -> None:
    renderer = Renderer(stages, speech_of(voice, 10))
    first = renderer.render(POLICY)
    same = renderer.render(replace(POLICY, name="other", vocoder_look_ahead_frames=2, vocoder_context_frames=3))
    renderer.render(replace(POLICY, prefix_codes=1))
    renderer.render(replace(POLICY, params={"gain": 2.0}))

    assert isinstance(stages.s2mel, WalkingEngine)
    assert isinstance(stages.vocoder, WalkingEngine)
    assert (len(stages.s2mel.sessions), len(stages.vocoder.sessions)) == (3, 4)
    assert np.array_equal(first.mel, same.mel)


def test_what_a_session_held_is_freed(stages: Stages, voice: Voice) -> None:
    render(stages, speech_of(voice, 10), POLICY)
    with pytest.raises(InvalidRequestError):
        render(stages, speech_of(voice, 10), replace(POLICY, prompt_seconds=-1.0))

    assert isinstance(stages.s2mel, WalkingEngine)
    assert isinstance(stages.vocoder, WalkingEngine)
    assert stages.s2mel.num_open == stages.vocoder.num_open == 0
