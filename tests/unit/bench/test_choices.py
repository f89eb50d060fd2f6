"""Distances of ways to carry the flow, and of the vocoder's contexts, on networks of a few channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.choices import contexts, flows, tables
from bench.choices.contexts import Difference
from bench.choices.flows import Distance
from bench.quality.material import Speech, Voice
from bench.stages import s2mel
from bench.stages.workload import TOY, Workload
from services.common.stage.engine import Engine, Output
from services.common.stage.session import Chunk, Session
from services.s2mel_worker.model.solver import Solver
from services.vocoder_worker.engine import load_engine
from services.vocoder_worker.model.stream import LONGEST_PIECE
from services.vocoder_worker.settings import VocoderWorkerSettings

LOAD = Workload(codes=12, prompt_frames=20)


@pytest.fixture(scope="module")
def flow() -> Engine:
    torch.set_num_threads(1)
    return s2mel.make_engine(s2mel.make_stage(TOY), TOY, mode="float32")


@pytest.fixture(scope="module")
def speech() -> Speech:
    chunk = s2mel.code_chunk(TOY, LOAD)
    voice = Voice("made up", Path(), s2mel.voice_of(TOY, LOAD))
    return Speech("", voice, 1, chunk.tensors["codes"], chunk.tensors["latents"], 0.0, 0.0)


def test_every_solver_is_measured_with_every_number_of_steps(flow: Engine, speech: Speech) -> None:
    found = list(flows.solver_distances(flow, speech, 16, 0.7, steps=(2, 8)))
    assert len({(each.row, each.column) for each in found}) == len(found) == 2 * len(flows.SOLVERS)
    by_cell = tables.cells(found)
    for order, sway in ((flows.EULER, 0.0), (flows.TWO_STEP, 0.0)):
        row = flows._row_of(order, sway)
        assert 0 < by_cell[row, "8"] < by_cell[row, "2"]


def test_the_yardstick_is_no_distance_from_itself(flow: Engine, speech: Speech) -> None:
    found = list(flows.solver_distances(flow, speech, 6, 0.7, steps=(6,)))
    assert found[0] == Distance("Euler, equal steps", "6", 0.0)
    assert all(each.mel_l1 > 0 for each in found[1:])


def test_guidance_that_is_kept_longer_is_measured_against_the_same_solver(flow: Engine, speech: Speech) -> None:
    found = list(flows.guidance_distances(flow, speech, 0.7, solvers=[Solver(8)]))
    assert [(each.row, each.column) for each in found] == [("2", "8 Euler"), ("3", "8 Euler"), ("4", "8 Euler")]
    assert all(0 < each.mel_l1 < 1 for each in found)


def test_without_guidance_nothing_is_kept(flow: Engine, speech: Speech) -> None:
    assert {each.mel_l1 for each in flows.guidance_distances(flow, speech, 0.0, solvers=[Solver(8)])} == {0.0}


def test_a_shortened_speech_keeps_its_beginning(speech: Speech) -> None:
    short = flows.shortened(speech, 5)
    assert np.array_equal(short.codes, speech.codes[:5])
    assert len(short.latents) == 5


def test_guided_steps_are_those_that_the_solver_computes() -> None:
    assert flows.guided_steps(Solver(25)) == 25
    assert flows.guided_steps(Solver(25, guidance_interval=2)) == 17
    assert flows.guided_steps(Solver(16, sway=-0.5, order=2, guidance_interval=2)) == 12


def test_the_vocoder_is_nearer_to_the_whole_render_the_more_frames_it_sees() -> None:
    vocoder = load_engine(VocoderWorkerSettings(slots=1, device="cpu"))
    mel = np.random.default_rng(1).normal(-5, 2, (80, 80)).astype(np.float32)
    few, many = contexts.differences(vocoder, mel, [(24, 0), (24, 24)])
    assert len(few.errors) == len(many.errors) == 80 * 256
    assert many.largest <= 1 < few.largest
    assert many.signal_to_error_db > few.signal_to_error_db + 20


def test_the_whole_render_is_made_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = load_engine(VocoderWorkerSettings(slots=1, device="cpu"))
    pieces: list[int] = []

    def counted(sessions: Sequence[Session]) -> list[Output]:
        found = step(sessions)
        pieces.extend(len(output.tensors["pcm"]) for _, output in found if isinstance(output, Chunk))
        return found

    step = vocoder.step
    monkeypatch.setattr(vocoder, "step", counted)
    mel = np.full((LONGEST_PIECE + 20, 80), -8, np.float32)
    next(contexts.differences(vocoder, mel, [(24, 24)]))
    assert pieces[0] == len(mel) * 256


def test_recordings_count_by_their_length() -> None:
    found = contexts.together(
        [Difference(24, 8, np.array([0, 4], np.int32), 100.0), Difference(24, 8, np.array([2] * 6, np.int32), 20.0)]
    )
    assert (found.largest, found.power) == (4, 40.0)
    assert found.signal_to_error_db == pytest.approx(10 * math.log10(40 / 5))
    assert contexts.together([Difference(24, 8, np.zeros(3, np.int32), 1.0)]).signal_to_error_db == math.inf


def test_tables_show_means_and_the_steps_that_are_guided() -> None:
    found = [Distance("2", "25 Euler", 0.01), Distance("2", "25 Euler", 0.03)]
    assert "| 2 | 0.0200 (17) |" in tables.guidance_table(tables.cells(found))
    context = Difference(24, 8, np.array([0, 4], np.int32), 100.0)
    made = tables.figures({("Euler, equal steps", "4"): 0.46712}, tables.cells(found), [context])
    assert made["solver: Euler, equal steps, 4 steps"]["value"] == 0.4671
    assert made["guidance_interval 2, 25 Euler"]["value"] == pytest.approx(0.02)
    assert made["vocoder: 24 before, 8 behind"]["value"] == 4
