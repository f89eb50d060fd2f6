"""Steps that work ahead run on a thread that stands back for others; results, errors and order stay the same."""

from __future__ import annotations

import os
import threading

import pytest

from services.common.stage.lanes import Lanes


def standing() -> tuple[int, int]:
    thread = threading.get_native_id()
    return thread, os.getpriority(os.PRIO_PROCESS, thread)


def test_urgent_steps_stay_on_the_callers_thread_and_others_stand_back() -> None:
    lanes = Lanes(7)
    here = standing()

    assert lanes.run(standing, is_ahead=False) == here
    thread, niceness = lanes.run(standing, is_ahead=True)
    assert thread != here[0]
    assert niceness == min(19, here[1] + 7)
    assert lanes.run(standing, is_ahead=True)[0] == thread, "one thread for all of them"
    assert standing() == here


def test_without_a_second_standing_all_steps_run_where_they_are_asked_for() -> None:
    assert Lanes(0).run(standing, is_ahead=True) == standing()


@pytest.mark.parametrize("is_ahead", [False, True])
def test_what_a_step_raises_reaches_the_caller(is_ahead: bool) -> None:
    with pytest.raises(ZeroDivisionError):
        Lanes(1).run(lambda: 1 // 0, is_ahead=is_ahead)
