"""No text is lost, and everything that is spoken says where it was written."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.common.checkpoint import CheckpointConfig, load_config
from services.frontend.text import Segment, SegmentPolicy, TextFrontend, TextOptions, build_frontend
from services.frontend.text.backends import WetextBackend
from services.frontend.text.glossary import Glossary
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.tokenizer import Tokenizer

MINI = Path(__file__).resolve().parents[4] / "models" / "mini"
# Words that the tiny tokenizer can spell, so that what is missing was lost.
WORDS = ["hello", "the", "What's", "it’s", "GPT-A", "red", "你好", "今天", "去公园", "xvan4", "25", "3.5", "$1,234"]
MARKS = [" ", ", ", ". ", "! ", "。", "，", "？", "... ", "\n", "\n\n", ' "', "’ ", " 😀 ", " (", ") "]
messages = st.lists(st.sampled_from(WORDS + MARKS), max_size=40).map("".join)


class Unreliable:
    """Raises, returns nothing, drops a word or reads digits, at random but the same for the same text."""

    name = "unreliable"

    def chinese(self, text: str) -> str:
        return self.english(text)

    def english(self, text: str) -> str:
        choice = random.Random(text).random()
        if choice < 0.3:
            raise AssertionError
        if choice < 0.5:
            return ""
        if choice < 0.7:
            return " ".join(text.split()[1:])
        return text.replace("5", "five")


@pytest.fixture(scope="module")
def unreliable(tokenizer: Tokenizer) -> IndexTts2Frontend:
    return IndexTts2Frontend(CheckpointConfig(), tokenizer, Unreliable(), Glossary())


@pytest.fixture(scope="module")
def mini(wetext: WetextBackend) -> TextFrontend:
    return build_frontend(load_config(MINI), MINI, backend=wetext)


def speak(frontend: TextFrontend, text: str, cuts: list[int] | None = None) -> list[Segment]:
    segmenter = frontend.stream(TextOptions(max_tokens=40))
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    segments = [segment for start, end in pairwise(borders) for segment in segmenter.feed(text[start:end])]
    return segments + segmenter.end()


def check_spans(text: str, segments: list[Segment]) -> None:
    end = 0
    for segment in segments:
        assert segment.start >= end
        assert segment.text == text[segment.start : segment.end]
        end = segment.start
        for token in segment.tokens:
            assert end <= token.start <= token.end <= segment.end
            end = token.start
        end = segment.end


@settings(max_examples=150, deadline=None)
@given(messages)
def test_an_unreliable_reader_loses_no_word(unreliable: IndexTts2Frontend, text: str) -> None:
    segments = speak(unreliable, text)
    check_spans(text, segments)
    covered = {place for segment in segments for token in segment.tokens for place in range(token.start, token.end)}
    covered |= {place for s in segments for warning in s.warnings for place in range(warning.start, warning.end)}
    assert [text[place] for place in range(len(text)) if text[place].isalpha() and place not in covered] == []


@settings(max_examples=60, deadline=None)
@given(messages)
def test_segments_cover_every_speakable_character(frontend: IndexTts2Frontend, text: str) -> None:
    segments = speak(frontend, text)
    check_spans(text, segments)
    covered = {place for segment in segments for place in range(segment.start, segment.end)}
    assert all(place in covered for place, character in enumerate(text) if character.isalnum())


@settings(max_examples=60, deadline=None)
@given(messages, st.lists(st.integers(0, 1000), max_size=6))
def test_any_cutting_gives_the_same_segments_and_tokens(
    unreliable: IndexTts2Frontend, text: str, cuts: list[int]
) -> None:
    assert speak(unreliable, text, cuts) == speak(unreliable, text)


@settings(max_examples=60, deadline=None)
@given(messages)
def test_published_spans_are_ordered_and_inside(frontend: IndexTts2Frontend, text: str) -> None:
    tokens = frontend.encode_published(text).tokens
    assert [token.start for token in tokens] == sorted(token.start for token in tokens)
    assert all(0 <= token.start <= token.end <= len(text) for token in tokens)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["hello", "the", "red", "rain", "你", "好", "今天"]), min_size=1, max_size=20))
def test_what_was_not_rewritten_is_exact(frontend: IndexTts2Frontend, words: list[str]) -> None:
    text = " ".join(words)
    for segment in speak(frontend, text):
        for token in segment.tokens:
            assert text[token.start : token.end].upper() == token.piece.removeprefix("▁")


ENGLISH = ["hello", "Dr. Smith", "it's", "$12.50", "3:45", "F5-TTS", "xylozoquik", ", ", ". ", "! ", " ", "😀"]
english = st.lists(st.sampled_from(ENGLISH), max_size=25).map("".join)


@settings(max_examples=40, deadline=None)
@given(english)
@example("Dr. Smith 3:45Dr. Smith")
@example("Dr. Smith 3:45 Dr. Smith hello hello")
def test_phonemes_have_the_span_of_their_word(mini: TextFrontend, text: str) -> None:
    segments = speak(mini, text)
    check_spans(text, segments)
    covered = {place for segment in segments for token in segment.tokens for place in range(token.start, token.end)}
    covered |= {place for s in segments for warning in s.warnings for place in range(warning.start, warning.end)}
    assert [text[place] for place in range(len(text)) if text[place].isalpha() and place not in covered] == []


def test_a_number_is_spoken_by_tokens_that_all_stand_for_it(frontend: IndexTts2Frontend) -> None:
    text = "The price is $1,234.56 in all"
    (segment,) = frontend.segments(text)
    pieces = [token.piece for token in segment.tokens if text[token.start : token.end] == "$1,234.56"]
    assert "".join(pieces).replace("▁", " ") == " ONE THOUSAND TWO HUNDRED AND THIRTY FOUR POINT FIVE SIX DOLLARS"


def test_english_beside_chinese_is_read_in_english(frontend: IndexTts2Frontend) -> None:
    together = SegmentPolicy(merge_tokens=100, first_merge_tokens=100)
    (segment,) = frontend.segments("今天5个人。We see 5 apples. It is 6! 你好，5。", policy=together)
    assert segment.normalized == "今天五个. We see five apples. It is six! 你好,五."
    assert segment.language == "zh"


def test_a_whole_text_says_where_its_published_segments_are(frontend: IndexTts2Frontend) -> None:
    text = "It is 5 o'clock, my friend. We see the rain, and we go on."
    segments = frontend.whole_text_segments(text, TextOptions(max_tokens=20))
    assert len(segments) > 1
    assert " ".join(segment.text for segment in segments) == text
    check_spans(text, segments)
