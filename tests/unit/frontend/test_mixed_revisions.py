"""What a gateway makes of the workers that it sees: of mixed revisions no pipeline, and the answer says why."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import StageLostError
from services.common.reasons import Reason
from services.frontend.workers.topology import Pool, Topology
from tests.fakes.stage_worker import MODEL, add_emotion_text, describe


@dataclass(frozen=True)
class SeenWorker:
    """As much of a worker's link as pipelines are built from."""

    about: stage_pb2.DescribeResponse
    takes_streams: bool = True
    slots: int = 1
    available: int = 1
    leased: int = 0


def topology(**revisions: str) -> Topology:
    workers = [SeenWorker(describe(stage)) for stage in revisions]
    for worker, revision in zip(workers, revisions.values(), strict=True):
        worker.about.model.revision = revision
    made = Topology(MODEL, on_health=lambda name, is_serving: None)
    made.watch(workers)  # type: ignore[arg-type]
    made.update()
    return made


def test_stages_of_one_revision_are_a_pipeline() -> None:
    pipeline = topology(gpt="half", s2mel="half", vocoder="half").pipeline()

    assert pipeline.revision == "half"
    assert not pipeline.missing


def test_a_mixture_is_incomplete_and_every_revision_is_named() -> None:
    with pytest.raises(StageLostError, match=r"revision half: .*revision full: ") as caught:
        topology(gpt="half", s2mel="full", vocoder="half").pipeline()

    assert caught.value.reason == Reason.PIPELINE_INCOMPLETE
    assert "gpt, vocoder" in caught.value.message


def test_a_step_goes_to_a_worker_that_has_it() -> None:
    """Workers of one stage may differ in what they can do besides speaking."""
    without, has_it = SeenWorker(describe("gpt"), available=2), SeenWorker(describe("gpt"))
    add_emotion_text(has_it.about)
    pool = Pool(without.about, [without, has_it])  # type: ignore[list-item]

    assert [step.name for step in pool.option_steps] == ["emotion_text"]
    taken: list[object] = [pool.least_loaded(step=step) for step in ("", "emotion_text", "semantic")]
    assert taken == [without, has_it, without]


def test_a_step_that_no_worker_has_any_more_is_a_lost_stage() -> None:
    gone = SeenWorker(describe("gpt"), takes_streams=False)
    add_emotion_text(gone.about)
    pool = Pool(gone.about, [SeenWorker(describe("gpt")), gone])  # type: ignore[list-item]

    with pytest.raises(StageLostError, match="emotion_text"):
        pool.least_loaded(step="emotion_text")


def test_expected_stages_have_a_health_name_before_a_worker_is_seen() -> None:
    """A probe that asks too early learns that the stage is not there yet, and not that there is none."""
    told: dict[str, bool] = {}
    made = Topology(MODEL, on_health=told.__setitem__, expected_stages=("gpt", "vocoder"))
    made.update()
    assert told == {"stage.gpt": False, "stage.vocoder": False, "tts.v1.TextToSpeech": False}

    made.watch([SeenWorker(describe("gpt")), SeenWorker(describe("s2mel"))])  # type: ignore[list-item]
    made.update()
    assert told == {
        "stage.gpt": True,
        "stage.s2mel": True,
        "stage.vocoder": False,
        "tts.v1.TextToSpeech": False,
    }
