"""Several ways to do one piece of work are measured in turn and made comparable."""

from __future__ import annotations

import pytest

from bench.stages.cpu_clock import SET_UP, Slice, Spent, Work, cpu_seconds, interleave


def recorded(name: str, slices: list[Slice], order: list[str]) -> Work:
    for each in slices:
        order.append(name)
        yield each


def test_works_take_turns_until_the_last_is_done() -> None:
    order: list[str] = []
    half = Slice("flow", 0.5)
    interleave({"a": recorded("a", [half, half, half], order), "b": recorded("b", [half], order)})
    assert order == ["a", "b", "a", "a"]


def test_what_prepares_a_work_is_not_counted() -> None:
    def work() -> Work:
        sum(range(300_000))
        yield SET_UP
        yield Slice("flow", 1)

    [spent] = interleave({"a": work()}).values()
    assert spent.seconds.keys() == {"flow"}


def test_a_part_that_was_run_in_part_is_scaled_and_others_are_not() -> None:
    spent = Spent()
    spent.add(Slice("prefill", 1), 2.0)
    spent.add(Slice("decode", 0.1), 0.5)
    spent.add(Slice("decode", 0.1), 0.5)
    assert spent.of("decode") == pytest.approx(5.0)
    assert spent.total == pytest.approx(7.0)


def test_what_ran_twice_counts_as_its_mean() -> None:
    spent = Spent()
    spent.add(Slice("vocoder", 1), 3.0)
    spent.add(Slice("vocoder", 1), 5.0)
    assert spent.total == pytest.approx(4.0)


def test_computing_moves_the_clock() -> None:
    before = cpu_seconds()
    while cpu_seconds() == before:
        sum(range(10_000))
    assert cpu_seconds() > before
