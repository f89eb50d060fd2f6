"""What a listener without a pre-buffer hears follows from when the pieces came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.playback import Gap, Piece, ends, gaps, heard_at, slacks, starts

seconds = st.floats(0, 10, allow_nan=False)


@st.composite
def speeches(draw: st.DrawFn) -> list[Piece]:
    waits = draw(st.lists(st.tuples(seconds, st.floats(0.001, 5)), min_size=1, max_size=20))
    arrived, pieces = 0.0, []
    for wait, length in waits:
        arrived += wait
        pieces.append(Piece(arrived, length))
    return pieces


def test_pieces_that_come_in_time_leave_no_gap() -> None:
    assert gaps([Piece(1.0, 0.5), Piece(1.4, 0.5), Piece(2.0, 0.5)]) == []


def test_a_late_piece_leaves_a_gap_where_the_listener_ran_dry() -> None:
    assert gaps([Piece(1.0, 0.5), Piece(1.75, 0.5), Piece(2.0, 0.5)]) == [Gap(1, 1.5, 0.25)]


def test_playback_begins_with_the_first_piece_however_short() -> None:
    """Nothing is collected before playback: a short first piece runs out soon."""
    assert [gap.piece for gap in gaps([Piece(0.0, 0.01), Piece(0.1, 1.0)])] == [1]


def test_a_piece_without_sound_is_late_for_nobody() -> None:
    assert gaps([Piece(0.0, 0.5), Piece(3.0, 0.0)]) == []


def test_silence_before_the_first_sound_is_no_gap() -> None:
    assert gaps([Piece(0.0, 0.0), Piece(3.0, 0.5)]) == []


def test_a_sound_is_heard_after_the_gaps_before_it() -> None:
    pieces = [Piece(1.0, 0.5), Piece(2.0, 0.5)]
    assert heard_at(pieces, 0.25) == 1.25
    assert heard_at(pieces, 0.75) == 2.25
    assert heard_at(pieces, 1.0) is None


def test_nothing_has_no_end() -> None:
    with pytest.raises(ValueError, match="nothing arrived"):
        ends([])


@given(speeches())
def test_playback_takes_the_speech_and_the_gaps(pieces: list[Piece]) -> None:
    spoken = sum(piece.seconds for piece in pieces)
    silent = sum(gap.seconds for gap in gaps(pieces))
    assert ends(pieces) - pieces[0].arrived == pytest.approx(spoken + silent)


@given(speeches())
def test_no_piece_sounds_before_it_came_or_before_the_one_ahead_ended(pieces: list[Piece]) -> None:
    end = 0.0
    for piece, start in zip(pieces, starts(pieces), strict=True):
        assert start >= piece.arrived
        assert start >= end
        end = start + piece.seconds


@given(speeches())
def test_a_piece_without_slack_is_a_gap_and_no_other_is(pieces: list[Piece]) -> None:
    late = [index for index, slack in enumerate(slacks(pieces)) if slack < 0]
    assert [gap.piece for gap in gaps(pieces)] == late


@given(speeches(), st.floats(0, 5))
def test_a_later_start_of_everything_changes_no_gap(pieces: list[Piece], later: float) -> None:
    """Only the distances between arrivals count, so the first audio's delay is no underrun."""
    moved = [Piece(piece.arrived + later, piece.seconds) for piece in pieces]
    # Gaps of rounding errors apart.
    found = [gap.seconds for gap in gaps(moved) if gap.seconds > 1e-9]
    assert found == pytest.approx([gap.seconds for gap in gaps(pieces) if gap.seconds > 1e-9], abs=1e-8)


@given(speeches(), st.data())
def test_coming_sooner_never_makes_more_silence(pieces: list[Piece], data: st.DataObject) -> None:
    index = data.draw(st.integers(1, len(pieces))) - 1
    if index == 0:
        return
    sooner = [*pieces]
    sooner[index] = Piece(pieces[index - 1].arrived, pieces[index].seconds)
    silent = sum(gap.seconds for gap in gaps(sooner))
    assert silent <= sum(gap.seconds for gap in gaps(pieces)) + 1e-9
