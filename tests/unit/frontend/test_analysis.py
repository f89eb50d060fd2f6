"""The dry run: what would be spoken, and the codes without the sound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from protos.tts.v1 import synthesis_pb2
from services.common.reasons import Reason
from services.frontend.gateway import TextLimits
from services.frontend.speaking.text_feed import SLICE_CHARACTERS
from services.frontend.text import Segment, Segmenter
from tests.fakes.stage_worker import expected_codes
from tests.fakes.system import FakeSystem, fake_system, token_ids
from tests.unit.frontend.conftest import config, error_info, request

TEXT = "One two three. Four #five."


def asked(text: str = TEXT, /, *, with_codes: bool = False, **fields: object) -> synthesis_pb2.AnalyzeRequest:
    return synthesis_pb2.AnalyzeRequest(config=config(**fields), text=text, with_codes=with_codes)


async def test_dry_run_says_what_would_be_spoken_and_asks_no_worker(system: FakeSystem) -> None:
    answer = await system.speech.Analyze(asked())

    assert (answer.model, answer.model_revision, answer.language) == ("fake", "r1", "en")
    assert answer.normalized_text == "ONE TWO THREE. FOUR #FIVE."
    assert [segment.normalized_text for segment in answer.segments] == ["ONE TWO THREE.", "FOUR #FIVE."]
    assert [(each.text_span.start, each.text_span.end) for each in answer.segments] == [(0, 14), (15, 26)]
    tokens = [
        (token.id, token.piece, token.text_span.start, token.text_span.end) for token in answer.segments[1].tokens
    ]
    assert tokens == [(4, "FOUR", 15, 19), (6, "#FIVE.", 20, 26)]
    warning = answer.segments[1].warnings[0]
    assert warning.reason == synthesis_pb2.TEXT_WARNING_REASON_UNKNOWN_CHARACTER
    assert (warning.text_span.start, warning.text_span.end) == (20, 21)
    assert (answer.usage.characters, answer.usage.text_tokens, answer.usage.codes) == (26, 5, 0)
    assert not answer.HasField("utterance")
    assert not any(stage.opens for stage in system.stages.values())


async def test_text_without_codes_may_be_as_long_as_that_of_a_stream(tmp_path: Path) -> None:
    limits = TextLimits(max_unary_characters=10, max_stream_characters=30)
    async with fake_system(tmp_path, text_limits=limits) as system:
        assert (await system.speech.Analyze(asked())).usage.characters == len(TEXT) == 26
        for request_, limit in ((asked(with_codes=True), 10), (asked("One two three. " * 3), 30)):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await system.speech.Analyze(request_)
            assert error_info(failure.value)["reason"] == Reason.TEXT_TOO_LONG
            assert str(limit) in str(failure.value.details())


async def test_options_of_the_text_count(system: FakeSystem) -> None:
    text_config = synthesis_pb2.TextConfig(disabled_rules=["shout"], max_segment_tokens=10)
    answer = await system.speech.Analyze(asked("One two.", language="en-US", text=text_config))

    assert answer.normalized_text == "One two."
    assert answer.language == "en-US"


async def test_codes_are_those_of_speech_with_the_same_seed(system: FakeSystem) -> None:
    answer = await system.speech.Analyze(asked(with_codes=True))
    speech = await system.speech.Synthesize(request(TEXT))

    assert [list(segment.codes) for segment in answer.segments] == [
        expected_codes(token_ids(text), 7) for text in ("One two three.", "Four #five.")
    ]
    assert [segment.codes for segment in speech.segments] == [len(segment.codes) for segment in answer.segments]
    assert {segment.codebooks for segment in answer.segments} == {1}
    assert {segment.finish_reason for segment in answer.segments} == {synthesis_pb2.FINISH_REASON_STOP}
    assert (answer.utterance.seed, answer.utterance.voice_id) == (7, speech.utterance.voice_id)
    assert system.stages["gpt"].opens[0].params == system.stages["gpt"].opens[1].params
    assert system.stages["gpt"].opens[0].voice_hash == system.stages["gpt"].opens[1].voice_hash
    await system.all_free()


async def test_drawn_seed_is_told(system: FakeSystem) -> None:
    drawn = await system.speech.Analyze(synthesis_pb2.AnalyzeRequest(text=TEXT, with_codes=True))
    again = await system.speech.Analyze(asked(with_codes=True, seed=drawn.utterance.seed))

    assert again.segments == drawn.segments


async def test_codes_that_are_cut_at_the_limit_say_so(system: FakeSystem) -> None:
    answer = await system.speech.Analyze(
        asked("One two three.", with_codes=True, sampling=synthesis_pb2.SamplingConfig(max_codes=6))
    )

    assert answer.segments[0].finish_reason == synthesis_pb2.FINISH_REASON_MAX_CODES
    assert len(answer.segments[0].codes) == 6


async def test_codes_take_slots_of_the_first_stages_only(tmp_path: Path) -> None:
    async with fake_system(tmp_path, slots=1) as system:
        gate = system.stages["gpt"].behaviour.gate
        gate.clear()
        working = asyncio.create_task(_analyze(system))
        await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
        leased = {link.about.stage: link.leased for link in system.links if link.about is not None}
        gate.set()
        await working

        assert leased == {"gpt": 1, "s2mel": 0, "vocoder": 0}
        assert not system.stages["s2mel"].opens
        await system.all_free()


async def test_deadline_and_cancel_free_the_slots(system: FakeSystem) -> None:
    system.stages["gpt"].behaviour.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Analyze(asked(with_codes=True), timeout=0.5)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await system.all_free()

    call = system.speech.Analyze(asked(with_codes=True))
    await system.stages["gpt"].until(lambda: system.stages["gpt"].num_open == 1)
    call.cancel()
    await system.all_free()


async def test_codes_that_come_too_late_end_the_call_and_free_its_slots(system: FakeSystem) -> None:
    await system.gateway.voices.prepare()
    system.stages["gpt"].behaviour.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Analyze(asked(with_codes=True, max_first_audio_ms=100))

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = error_info(failure.value)
    assert (info["reason"], info["field"]) == ("FIRST_AUDIO_TIMEOUT", "config.max_first_audio_ms")
    await system.all_free()


async def test_long_text_leaves_the_threads_to_others_between_its_parts(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    feed = Segmenter.feed

    def noted(segmenter: Segmenter, part: str) -> list[Segment]:
        lengths.append(len(part))
        return feed(segmenter, part)

    monkeypatch.setattr(Segmenter, "feed", noted)
    long = "One two three. " * 150
    answer = await system.speech.Analyze(asked(long))

    assert (sum(lengths), max(lengths)) == (len(long), SLICE_CHARACTERS)
    assert len(answer.segments) == 150


async def test_codes_of_a_model_that_makes_none_are_refused(tmp_path: Path) -> None:
    async with fake_system(tmp_path, stages=("everything",)) as system:
        assert (await system.speech.Analyze(asked())).segments
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.speech.Analyze(asked(with_codes=True))

    info = error_info(failure.value)
    assert (info["reason"], info["capability"], info["field"]) == ("CAPABILITY_MISSING", "codes", "with_codes")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (asked(""), "text"),
        (asked("x" * 5001, with_codes=True), "text"),
        (asked("x" * 20_001), "text"),
        (asked(speaking_rate=9), "config.speaking_rate"),
        (asked(recording=synthesis_pb2.ReferenceRecording()), "config.recording.audio"),
    ],
)
async def test_what_speech_would_refuse_is_refused(
    system: FakeSystem, bad: synthesis_pb2.AnalyzeRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Analyze(bad)

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(failure.value)["field"] == field


async def _analyze(system: FakeSystem) -> synthesis_pb2.AnalyzeResponse:
    return await system.speech.Analyze(asked(with_codes=True))
