"""Bad text and what it gets."""

import time

import pytest

from services.common.errors import InvalidRequestError
from services.frontend.text.base_frontend import MAX_CHARS
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.options import TextOptions
from services.frontend.text.validation import check_fragment, check_text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "TEXT_EMPTY"),
        (" \n\t\u3000", "TEXT_EMPTY"),
        ("?! … 。，", "TEXT_NOT_SPEAKABLE"),
        ("😀👍🏽", "TEXT_NOT_SPEAKABLE"),
        ("a\x00b", "TEXT_BAD_CHARACTER"),
        ("a\x1b[0m", "TEXT_BAD_CHARACTER"),
        ("a\x9f", "TEXT_BAD_CHARACTER"),
        ("a\ud83d b", "TEXT_BAD_CHARACTER"),
        ("a" * 101, "TEXT_TOO_LONG"),
    ],
)
def test_bad_text_is_refused_by_reason_and_field(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_text(text, max_chars=100, field="input.text")
    assert (caught.value.reason, caught.value.field) == (reason, "input.text")
    assert "allowed" in caught.value.message or "needed" in caught.value.message


@pytest.mark.parametrize("text", ["a", "5", "½", "你", "a\tb\r\n\x0b\x0c", "a\u200bb", "\ufeffhello", "é", "Привет"])
def test_good_text_passes(text: str) -> None:
    check_text(text, max_chars=100)


def test_a_fragment_may_be_empty_or_punctuation() -> None:
    check_fragment("", max_chars=1)
    check_fragment("…", max_chars=1)
    with pytest.raises(InvalidRequestError, match="offset 2"):
        check_fragment("ab\x07", max_chars=10)


def test_an_error_never_repeats_the_text() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_text("secret\x00", max_chars=100)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("unit", ["a", "今", "5", "a,", "hello ", "你。", "<a|", "#1 ", "(", "ab1-"])
def test_100_kb_is_refused_at_once_and_the_most_that_is_allowed_is_quick(
    frontend: IndexTts2Frontend, unit: str
) -> None:
    start = time.process_time()
    with pytest.raises(InvalidRequestError, match="at most 20000"):
        frontend.segments((unit * 100_000)[:100_000])
    assert time.process_time() - start < 0.1
    segments = frontend.segments("so " + (unit * 1200)[:1200])
    assert sum(segment.end - segment.start for segment in segments) <= MAX_CHARS
    assert time.process_time() - start < 4  # 0.1 to 0.8 s, measured on one core


def test_max_tokens_is_checked_against_the_model(frontend: IndexTts2Frontend) -> None:
    for max_tokens in (0, -1, 9, 601):
        with pytest.raises(InvalidRequestError, match="10 to 600 are allowed"):
            frontend.segments("hello", TextOptions(max_tokens=max_tokens))
    segments = frontend.segments("hello " * 50, TextOptions(max_tokens=10))
    assert max(len(segment.token_ids) for segment in segments) <= 10
