"""Text that is rewritten keeps the way back to what was written."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.frontend.text.alignment import align, has_lost_words
from services.frontend.text.spans import Edit, SpannedText


def sources(written: str, spoken: SpannedText) -> list[str]:
    """What each character stands for."""
    return [written[start:end] for start, end in zip(spoken.starts, spoken.ends, strict=True)]


def word_sources(written: str, spoken: SpannedText) -> dict[str, str]:
    spans = {match[0]: spoken.span(*match.span()) for match in re.finditer(r"\S+", spoken.text)}
    return {word: written[start:end] for word, (start, end) in spans.items()}


def check_spans(spoken: SpannedText, size: int) -> None:
    assert len(spoken.text) == len(spoken.starts) == len(spoken.ends)
    assert list(spoken.starts) == sorted(spoken.starts)
    assert list(spoken.ends) == sorted(spoken.ends)
    assert all(0 <= start <= end <= size for start, end in zip(spoken.starts, spoken.ends, strict=True))


def test_untouched_text_stands_for_itself() -> None:
    text = SpannedText.of("abc")
    assert sources("abc", text) == ["a", "b", "c"]
    assert sources("..abc", SpannedText.of("abc", 2)) == ["a", "b", "c"]


def test_what_replaces_a_slice_stands_for_all_of_it_and_the_rest_stays_exact() -> None:
    spoken = SpannedText.of("a 12 b").sub(re.compile(r"\d+"), "twelve")
    assert sources("a 12 b", spoken) == ["a", " ", *["12"] * 6, " ", "b"]


def test_a_slice_that_comes_back_as_it_was_is_exact_again() -> None:
    text = SpannedText.of("see <x|y> there")
    hidden = text.replace("<x|y>", "HIDDEN")
    assert sources(text.text, hidden)[4] == "<x|y>"
    assert hidden.replace("HIDDEN", "<x|y>") == SpannedText(text.text, list(text.starts), list(text.ends))


def test_what_is_put_in_between_has_an_empty_span() -> None:
    spoken = SpannedText.of("2½").sub(re.compile("(?=½)"), " ")
    assert (spoken.text, sources("2½", spoken)) == ("2 ½", ["2", "", "½"])


def test_letters_that_become_two_keep_their_span() -> None:
    assert sources("aß!", SpannedText.of("aß!").upper()) == ["a", "ß", "ß", "!"]


def test_white_space_collapses_and_goes_at_the_ends() -> None:
    spoken = SpannedText.of("  a \n b ").collapse()
    assert (spoken.text, sources("  a \n b ", spoken)) == ("a b", ["a", " \n ", "b"])


@pytest.mark.parametrize(
    ("written", "said", "expected"),
    [
        ("paid $5 today", "paid five dollars today", {"paid": "paid", "five": "$5", "dollars": "$5", "today": "today"}),
        ("5 of 6", "five of six", {"five": "5", "of": "of", "six": "6"}),
        ("共5人", "共五人", {"共五人": "共5人"}),
        ("F5<H>TTS", "F five <H> TTS", {"F": "F", "five": "5", "<H>": "<H>", "TTS": "TTS"}),
        ("Mr. A.", "Mister A.", {"Mister": "Mr.", "A.": "A."}),
        ("x", "", {}),
    ],
)
def test_spoken_words_are_aligned_with_written_ones(written: str, said: str, expected: dict[str, str]) -> None:
    spoken = align(SpannedText.of(written), said)
    assert spoken.text == said
    assert word_sources(written, spoken) == expected


def test_a_word_that_nothing_stands_for_is_lost() -> None:
    written = SpannedText.of("one lost word, 5 more")
    assert has_lost_words(written, align(written, "one word, five more"))
    assert not has_lost_words(written, align(written, "one lost word, five more"))


edits = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.text("xyz ", max_size=6)), max_size=5)


@given(st.text("ab1 你", max_size=30), edits, edits, st.booleans())
@example("11111", [(2, 3, "xxxx")], [(1, 2, "xxxx")], True)
@example("1111111", [(3, 2, "xxxxxx")], [(8, 3, "xxxx")], True)
def test_any_edits_keep_spans_ordered_and_inside(
    text: str, first: list[tuple[int, int, str]], second: list[tuple[int, int, str]], is_one_by_one: bool
) -> None:
    spoken = SpannedText.of(text)
    for proposed in (first, second):
        spoken = spoken.edit(in_order(proposed, len(spoken.text)), is_one_by_one=is_one_by_one)
        check_spans(spoken, len(text))


@given(st.text("ab1 .你", max_size=30), st.text("ab1 .你", max_size=30))
def test_any_rewriting_is_aligned_in_order_and_equal_words_are_exact(written: str, said: str) -> None:
    spoken = align(SpannedText.of(written), said)
    assert spoken.text == said
    check_spans(spoken, len(written))
    assert align(SpannedText.of(written), written).starts == range(len(written))


def in_order(proposed: list[tuple[int, int, str]], size: int) -> list[Edit]:
    """Those edits that are inside and do not overlap."""
    kept: list[Edit] = []
    for start, length, said in sorted(proposed):
        if start + length <= size and (not kept or kept[-1][1] <= start):
            kept.append((start, start + length, said))
    return kept
