"""Segments are a function of the text and the flush marks alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.frontend.text.segment import Encoded, Segment, Token
from services.frontend.text.segmenter import Segmenter, SegmentPolicy

POLICY = SegmentPolicy(max_tokens=12, merge_tokens=4, first_merge_tokens=2, max_sentence_chars=60)
ALPHABET = "ab5M r.!?…。！？,，、\"'”)\n -Mr.e.g.你好"


def count_words(text: str) -> Encoded:
    """One token per letter of an ideograph, word or mark: enough to merge and split by."""
    spaced = "".join(f" {character} " if ord(character) > 0x2E80 else character for character in text)
    return Encoded(tuple(Token(len(word), word, 0, 1) for word in spaced.split()), text)


def cut(text: str, policy: SegmentPolicy = POLICY) -> list[Segment]:
    segmenter = Segmenter(count_words, policy)
    return [*segmenter.feed(text), *segmenter.end()]


def texts(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments]


def feed_in_pieces(text: str, cuts: list[int], flushes: set[int]) -> list[Segment]:
    segmenter, segments = Segmenter(count_words, POLICY), list[Segment]()
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts), *flushes})
    for start, end in zip(borders, [*borders[1:], len(text)], strict=True):
        if start in flushes:
            segments += segmenter.flush()
        segments += segmenter.feed(text[start:end])
    return segments + segmenter.end()


messages = st.text(st.sampled_from(ALPHABET), max_size=200)


@settings(max_examples=300, deadline=None)
@given(messages, st.lists(st.integers(0, 1000), max_size=12), st.lists(st.integers(0, 1000), max_size=3))
def test_any_chunking_gives_the_same_segments(text: str, cuts: list[int], flushes: list[int]) -> None:
    marks = {flush % (len(text) + 1) for flush in flushes}
    assert feed_in_pieces(text, cuts, marks) == feed_in_pieces(text, [], marks)
    assert feed_in_pieces(text, list(range(len(text))), marks) == feed_in_pieces(text, [], marks)


@settings(max_examples=300, deadline=None)
@given(messages)
def test_spans_are_ordered_exact_and_lose_no_letter(text: str) -> None:
    segments = cut(text)
    covered = set[int]()
    for index, segment in enumerate(segments):
        assert segment.index == index
        assert segment.text == text[segment.start : segment.end]
        assert 0 < len(segment.tokens) <= POLICY.max_tokens
        assert segment.start >= max(covered, default=-1)
        covered |= set(range(segment.start, segment.end))
    assert all(i in covered for i, character in enumerate(text) if character.isalnum())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He paid 3.5 today. She paid 4.", ["He paid 3.5 today.", "She paid 4."]),
        ("I met Mr. Smith there. We ate.", ["I met Mr. Smith there.", "We ate."]),
        ("See e.g. the U.S. market now. We ate.", ["See e.g. the U.S. market now.", "We ate."]),
        ('He said "Come to me." Then he left us.', ['He said "Come to me."', "Then he left us."]),
        ("今天好。”我们走吧。去", ["今天好。”", "我们走吧。", "去"]),
        ("真的？！我们走吧", ["真的？！", "我们走吧"]),
        ("A long title\n\nThe body is here", ["A long title", "The body is here"]),
        ("One long\nline of it. Next", ["One long\nline of it.", "Next"]),
        ("1. Do this first. 2. Do that then.", ["1. Do this first.", "2. Do that then."]),
        ("wait...what is it... Well then", ["wait...what is it...", "Well then"]),
        ("https://a.example/b.html is it. Go", ["https://a.example/b.html is it.", "Go"]),
    ],
)
def test_a_sentence_ends_at_its_mark_and_white_space_or_at_a_cjk_mark(text: str, expected: list[str]) -> None:
    assert texts(cut(text, SegmentPolicy(max_tokens=12, merge_tokens=3, first_merge_tokens=2))) == expected


def test_the_first_sentence_leaves_when_it_is_complete() -> None:
    segmenter = Segmenter(count_words, POLICY)
    assert segmenter.feed("Hello to you.") == []
    assert texts(segmenter.feed(" ")) == ["Hello to you."]
    assert texts(segmenter.feed("你们今天好。我")) == ["你们今天好。"]


def test_a_short_sentence_waits_for_the_next_one_and_a_flush_releases_it() -> None:
    segmenter = Segmenter(count_words, POLICY)
    assert segmenter.feed("Yes. ") == []
    assert texts(segmenter.feed("It is. ")) == ["Yes. It is."]
    assert segmenter.feed("Oh no. But") == []
    assert texts(segmenter.flush()) == ["Oh no. But"]
    assert texts(segmenter.feed(" then what. ")) == ["then what."]
    assert segmenter.end() == []


def test_sentences_are_not_merged_beyond_the_limit() -> None:
    policy = SegmentPolicy(max_tokens=5, merge_tokens=4, first_merge_tokens=4)
    assert texts(cut("One two three. Four five six seven. Eight.", policy)) == [
        "One two three.",
        "Four five six seven.",
        "Eight.",
    ]


def test_a_long_sentence_is_halved_at_a_clause_else_at_a_word() -> None:
    policy = SegmentPolicy(max_tokens=6, merge_tokens=2)
    assert texts(cut("one two three four, five six seven eight nine", policy)) == [
        "one two three four,",
        "five six seven eight nine",
    ]
    assert texts(cut("a b c d e f g h", policy)) == ["a b c d", "e f g h"]
    assert texts(cut("one,two 1,234,567 3 4 5 6 7 8", policy)) == ["one,two 1,234,567", "3 4 5 6 7 8"]
    assert texts(cut("今天我们大家都很好", policy)) == ["今天我们", "大家都很好"]


def test_an_endless_sentence_is_cut_so_that_waiting_text_is_bounded() -> None:
    segmenter = Segmenter(count_words, POLICY)
    for _ in range(100):
        segmenter.feed("word " * 10)
        assert len(segmenter._buffer) <= POLICY.max_sentence_chars + 50
    assert segmenter.num_chars == 5000


def test_what_cannot_be_spoken_makes_no_segment_of_its_own() -> None:
    assert cut("!!! ?? … 。。 😀 ( )") == []
    assert texts(cut("😀 Well. ... Then go on now.")) == ["😀 Well.", "... Then go on now."]
