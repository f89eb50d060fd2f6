"""Backpressure by lead: the first stage waits when it is far ahead of the sound, and never for ever."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.frontend.audio import AudioFormat, Encoding
from services.frontend.request.speech_request import SpeechRequest, StageInputs
from services.frontend.speaking.laps import PipelineLimits
from services.frontend.speaking.stage_lead import ROUNDING_SECONDS, StageLead, edge_seconds, lead_of, pace_of
from services.frontend.text import TextOptions
from services.frontend.workers.topology import Pipeline, Pool
from tests.fakes.stage_worker import describe
from tests.fakes.system import fake_system, token_ids
from tests.unit.frontend.conftest import heard, request

CODE_SECONDS = 1 / 50
FRAME_SECONDS = 256 / 22050


def lead(lead_seconds: float = 2.0, window_seconds: float = 3.0) -> StageLead:
    return StageLead(lead_seconds=lead_seconds, window_seconds=window_seconds)


def test_within_a_segment_the_largest_window_comes_on_top() -> None:
    held = lead()
    held.note_given(0, 4.9, is_end=False)
    assert not held.is_reached

    held.note_given(0, 0.2, is_end=False)
    assert held.is_reached


def test_a_complete_segment_is_all_that_is_needed_to_give_sound() -> None:
    held = lead()
    held.note_given(0, 1.9, is_end=True)
    assert not held.is_reached

    held.note_given(1, 0.2, is_end=False)
    assert held.is_reached


def test_sound_lets_the_first_stage_go_on() -> None:
    held = lead()
    held.note_given(0, 5.1, is_end=False)
    held.note_sound(0, 0.2)

    assert not held.is_reached


def test_a_whole_segment_is_never_waited_in() -> None:
    held = lead(window_seconds=math.inf)
    held.note_given(0, 100.0, is_end=False)
    assert not held.is_reached

    held.note_given(0, 0.0, is_end=True)
    assert held.is_reached


def test_a_segment_that_is_finished_or_cancelled_leaves_nothing_behind() -> None:
    """Codes that gave less sound than usual, or none at all, must not hold the stage for ever."""
    held = lead()
    held.note_given(0, 9.0, is_end=True)
    held.drop(0)
    held.note_sound(0, 1.0)

    assert (held.is_reached, held.seconds) == (False, 0.0)


windows = st.builds(
    stage_pb2.Policy,
    is_whole=st.booleans(),
    codes_per_chunk=st.integers(1, 10),
    first_window_codes=st.integers(1, 60),
    window_growth=st.floats(1, 3),
    max_window_codes=st.integers(60, 400),
    look_ahead_codes=st.integers(0, 50),
    vocoder_look_ahead_frames=st.integers(0, 256),
    crossfade_frames=st.integers(0, 256),
)


class Renderer:
    """The stages behind the first one as they are told to be: all windows they can render of one segment."""

    def __init__(self, policy: stage_pb2.Policy, pace: float) -> None:
        self._policy = policy
        self._pace = pace
        self._border = 0
        self._window = float(policy.first_window_codes)
        self._given = 0

    def frames(self, num_codes: int, *, has_ended: bool) -> int:
        """How many more frames' sound comes out once there are so many codes."""
        policy = self._policy
        while not has_ended and not policy.is_whole:
            size = min(int(self._window), policy.max_window_codes)
            if num_codes < self._border + size + policy.look_ahead_codes:
                break
            self._border += size
            self._window *= policy.window_growth
        border = num_codes if has_ended else self._border
        out = int(border * 1.72 * self._pace)
        if not has_ended:
            out = max(0, out - policy.crossfade_frames - policy.vocoder_look_ahead_frames)
        more, self._given = max(0, out - self._given), max(out, self._given)
        return more


def asked(
    policy: stage_pb2.Policy, duration_factor: float = 1.0
) -> tuple[SpeechRequest, list[stage_pb2.DescribeResponse]]:
    """A request of that policy and pace to three stages with the rates of IndexTTS2."""
    abouts = [describe(stage) for stage in ("gpt", "s2mel", "vocoder")]
    abouts[0].gives.rate_numerator = 50
    abouts[1].gives.rate_numerator, abouts[1].gives.rate_denominator = 22050, 256
    pipeline = Pipeline("fake", "r1", tuple(Pool(about, ()) for about in abouts))
    sound = AudioFormat(Encoding.LINEAR16, 22050)
    inputs = {"s2mel": StageInputs(params={"duration_factor": duration_factor})}
    return SpeechRequest("u", "", 7, pipeline, policy, inputs, sound, TextOptions()), abouts


@given(
    windows,
    st.floats(0.5, 2.0),
    st.floats(0.001, 10),
    st.lists(st.integers(0, 1815), min_size=1, max_size=4),
)
def test_nothing_starves_whatever_the_windows_the_pace_and_the_lead(
    policy: stage_pb2.Policy, pace: float, lead_seconds: float, segments: list[int]
) -> None:
    """The first stage is held only where those behind it can go on, and is never further ahead than was set."""
    spoken, abouts = asked(policy, pace)
    held = lead_of(spoken, abouts, lead_seconds)
    assert held is not None
    most = lead_seconds + max(held._window_seconds, 0.0) + pace * policy.codes_per_chunk * CODE_SECONDS
    for index, length in enumerate(segments):
        renderer, given = Renderer(policy, pace_of(spoken)), 0
        while given < length or length == 0:
            assert not held.is_reached, "the first stage is held and nothing is left to render"
            size = min(policy.codes_per_chunk, length - given)
            given += size
            held.note_given(index, pace * edge_seconds(abouts[0].gives, size), is_end=given == length)
            assert held.seconds <= most
            held.note_sound(index, FRAME_SECONDS * renderer.frames(given, has_ended=given == length))
            if given == length:
                break
        held.drop(index)


def test_the_window_is_told_in_seconds_of_sound() -> None:
    policy = stage_pb2.Policy(
        first_window_codes=10,
        max_window_codes=80,
        look_ahead_codes=20,
        vocoder_look_ahead_frames=8,
        crossfade_frames=4,
    )
    held = lead_of(*asked(policy, 2.0), 5.0)

    assert held is not None
    assert held._window_seconds == pytest.approx(2 * 100 * CODE_SECONDS + 12 * FRAME_SECONDS + ROUNDING_SECONDS)


def test_a_model_of_one_stage_has_no_lead() -> None:
    spoken, abouts = asked(stage_pb2.Policy())

    assert lead_of(spoken, abouts[-1:], 1.0) is None
    assert lead_of(spoken, abouts[:2], 1.0) is None, "no sound, so nothing to be ahead of"


async def test_a_first_stage_that_is_far_ahead_gets_no_credit_until_sound_comes(tmp_path: Path) -> None:
    """Thirty segments, and a vocoder that gives nothing: without the lead all of their codes would be made."""
    words = "one two three four"
    text = " ".join(f"{words}." for _ in range(30))
    limits = PipelineLimits(stage_lead_seconds=0.05, chunk_window=4)
    async with fake_system(tmp_path, limits=limits) as system:
        gpt, s2mel, vocoder = (system.stages[name] for name in ("gpt", "s2mel", "vocoder"))
        s2mel.behaviour.window = vocoder.behaviour.window = 1000
        vocoder.behaviour.gate.clear()
        speaking = system.speech.Synthesize(request(text))

        def ended() -> int:
            return sum(event[:2] == ("gpt", "end") for event in system.events)

        await gpt.until(lambda: ended() >= 1)
        # Another call goes through the same stage from end to end meanwhile.
        await system.speech.Analyze(synthesis_pb2.AnalyzeRequest(text=text, config=request("").config, with_codes=True))
        assert ended() <= 30 + 3, "thirty of them are the other call's"
        vocoder.behaviour.gate.set()
        answer = await speaking

        assert len(answer.segments) == 30
        assert answer.audio.startswith(heard(token_ids(f"{words}."), 7))
        await system.all_free()


async def test_a_segment_that_is_cancelled_while_the_first_stage_waits_lets_it_go_on(tmp_path: Path) -> None:
    limits = PipelineLimits(stage_lead_seconds=0.01, chunk_window=1)
    async with fake_system(tmp_path, limits=limits) as system:
        vocoder = system.stages["vocoder"]
        vocoder.behaviour.gate.clear()
        call = system.speech.StreamingSynthesize()
        await call.write(synthesis_pb2.StreamingSynthesizeRequest(config=request("").config))
        await call.write(synthesis_pb2.StreamingSynthesizeRequest(text="one two three four. five six. "))
        await system.stages["gpt"].until(lambda: ("gpt", "end", 0) in system.events)
        await call.write(
            synthesis_pb2.StreamingSynthesizeRequest(cancel_segment=synthesis_pb2.CancelSegment(segment=0))
        )
        await system.stages["gpt"].until(lambda: ("gpt", "end", 1) in system.events)
        vocoder.behaviour.gate.set()
        await call.done_writing()
        answers = [answer async for answer in call]

        assert answers
        await system.all_free()
