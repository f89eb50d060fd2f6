"""Whether playback starves, as a function of policy and costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.stage.policy import Policy
from services.s2mel_worker.model.playback import FRAMES_PER_SECOND, Costs, playback
from services.s2mel_worker.model.windows import frames_of

settings.register_profile("playback", deadline=None, max_examples=60)
settings.load_profile("playback")

SECONDS = st.floats(0, 0.02)
COSTS = st.builds(Costs, render=st.floats(0, 0.3), frame=SECONDS, code=SECONDS, after=st.floats(0, 0.2))
POLICIES = st.builds(
    lambda first, growth, more, ahead, prefix: Policy(
        first_window_codes=first,
        window_growth=growth,
        max_window_codes=first + more,
        look_ahead_codes=ahead,
        prefix_codes=prefix,
        prompt_seconds=1.5,
    ),
    st.integers(1, 40),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.integers(0, 100),
    st.integers(0, 30),
    st.integers(0, 30),
)
LENGTHS = st.integers(1, 600)


@given(POLICIES, LENGTHS)
def test_work_that_costs_nothing_never_starves(policy: Policy, num_codes: int) -> None:
    found = playback(policy, num_codes, Costs(render=0, frame=0))
    assert found.first_audio_seconds == 0
    assert found.least_lead_seconds == 0, "the first window is never ahead of itself"


@given(POLICIES, LENGTHS, COSTS, st.floats(1, 3))
def test_dearer_work_is_never_better(policy: Policy, num_codes: int, costs: Costs, factor: float) -> None:
    dearer = Costs(costs.render * factor, costs.frame * factor, costs.code * factor, costs.after * factor)
    cheap, dear = playback(policy, num_codes, costs), playback(policy, num_codes, dearer)
    assert dear.first_audio_seconds >= cheap.first_audio_seconds
    assert dear.least_lead_seconds <= cheap.least_lead_seconds + 1e-9


@given(POLICIES, LENGTHS, COSTS)
def test_sound_that_is_waited_for_does_not_change_the_lead(policy: Policy, num_codes: int, costs: Costs) -> None:
    """What comes after the frames delays all windows alike."""
    later = Costs(costs.render, costs.frame, costs.code, costs.after + 1)
    found, delayed = playback(policy, num_codes, costs), playback(policy, num_codes, later)
    assert delayed.first_audio_seconds == pytest.approx(found.first_audio_seconds + 1)
    assert delayed.least_lead_seconds == pytest.approx(found.least_lead_seconds)


def test_a_window_that_takes_longer_than_the_sound_before_it_starves() -> None:
    policy = Policy(first_window_codes=25, window_growth=2, max_window_codes=50, look_ahead_codes=0, prefix_codes=0)
    sound = frames_of(25) / FRAMES_PER_SECOND
    assert playback(policy, 75, Costs(render=sound, frame=0)).least_lead_seconds == pytest.approx(0)
    assert playback(policy, 75, Costs(render=sound + 0.1, frame=0)).least_lead_seconds == pytest.approx(-0.1)


def test_codes_that_come_slower_than_they_are_spoken_starve() -> None:
    assert playback(Policy(), 500, Costs(render=0, frame=0, code=0.03)).least_lead_seconds < 0
    assert playback(Policy(look_ahead_codes=0, window_growth=1), 500, Costs(0, 0, code=0.01)).least_lead_seconds >= 0
