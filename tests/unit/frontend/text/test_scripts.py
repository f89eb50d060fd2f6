"""Text that the model cannot read: refused when it is most of a sentence, else left out and reported."""

import pytest

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.text import Segment, SegmentPolicy, TextOptions, TextWarningReason
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.phonemes import is_foreign
from services.frontend.text.scripts import Script, detect
from services.frontend.text.tokenizer import Tokenizer

LATIN = Script(lambda letter: not is_foreign(letter), ["en"], 0.2)
FOREIGN = ["Привет, как дела?", "Καλημέρα κόσμε", "สวัสดีครับ", "مرحبا بالعالم", "Я иду в shop."]


def warned(text: str, segments: list[Segment]) -> list[str]:
    warnings = [warning for segment in segments for warning in segment.warnings]
    assert all(warning.reason is TextWarningReason.UNKNOWN_CHARACTER for warning in warnings)
    return [text[warning.start : warning.end] for warning in warnings]


@pytest.mark.parametrize("text", ["你好", "I love 北京", "Привет, world"])
def test_a_foreign_script_is_refused_with_the_languages(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="languages are: en") as caught:
        LATIN.check(text)
    assert caught.value.reason is Reason.LANGUAGE_NOT_SUPPORTED


@pytest.mark.parametrize("text", ["Café, the π and so on", "5 µm, the 1ª", "π", "12 ?!", ""])
def test_a_stray_foreign_letter_does_not_refuse_a_sentence(text: str) -> None:
    LATIN.check(text)


@pytest.mark.parametrize("text", FOREIGN)
def test_text_that_is_mostly_unknown_is_refused_in_every_way(frontend: IndexTts2Frontend, text: str) -> None:
    def feed(text: str) -> None:
        segmenter = frontend.stream()
        segmenter.feed(text)
        segmenter.end()

    for speak in (frontend.segments, frontend.whole_text_segments, frontend.check_text, feed):
        with pytest.raises(InvalidRequestError, match="languages are: zh, en") as caught:
            speak(text)
        assert caught.value.reason is Reason.LANGUAGE_NOT_SUPPORTED


def test_one_foreign_sentence_late_in_a_long_text_refuses_it_before_anything_is_spoken(
    frontend: IndexTts2Frontend,
) -> None:
    text = "We see the rain. " * 200 + "Привет, как дела? " + "We go on. " * 20
    with pytest.raises(InvalidRequestError, match="languages are"):
        frontend.check_text(text)
    segmenter = frontend.stream()
    assert segmenter.feed(text[:3000])
    with pytest.raises(InvalidRequestError, match="languages are"):
        segmenter.feed(text[3000:])


def test_a_text_of_single_foreign_letters_has_nothing_to_speak(frontend: IndexTts2Frontend) -> None:
    for text in ("я", "я. π. я."):
        with pytest.raises(InvalidRequestError, match="languages are"):
            frontend.check_text(text)
    frontend.check_text("5. я.")


def test_unknown_characters_are_left_out_and_reported_with_their_place(
    frontend: IndexTts2Frontend, tokenizer: Tokenizer
) -> None:
    text = "We see the я and a €2 😀 and ☃… here. " * 2
    segments = frontend.segments(text)
    assert warned(text, segments) == ["я", "😀", "☃"] * 2
    assert not any(tokenizer.is_unknown(token) for segment in segments for token in segment.token_ids)
    assert not set("я😀☃") & set("".join(segment.normalized for segment in segments))


@pytest.mark.parametrize(
    ("text", "normalized", "warning"),
    [
        ("Hello ☃ world.", "Hello world.", "☃"),
        ("We see the rain 😀.", "We see the rain.", "😀"),
        ("Hello, (world)…\u00a0— so\u200b it goes.", None, None),
    ],
)
def test_pictures_are_reported_and_marks_spaces_and_invisible_characters_are_not(
    frontend: IndexTts2Frontend, text: str, normalized: str | None, warning: str | None
) -> None:
    for segments in (frontend.segments(text), frontend.whole_text_segments(text)):
        assert warned(text, segments) == ([warning] if warning else [])
        assert normalized in {None, segments[0].normalized.replace(" .", ".")}


def test_a_published_segment_among_several_shows_nothing_that_is_not_spoken(frontend: IndexTts2Frontend) -> None:
    text = "We see the ☃ rain. We see the я rain, and we go on and on."
    segments = frontend.whole_text_segments(text, TextOptions(max_tokens=20))
    assert len(segments) > 1
    assert not set("☃я") & set("".join(segment.normalized for segment in segments))
    assert "".join(segment.normalized for segment in segments).startswith("WE SEE THE RAIN.")


def test_warnings_of_a_segment_are_bounded_and_the_others_counted(frontend: IndexTts2Frontend) -> None:
    text = "We see " + "the ☃ " * 130 + "rain."
    options = TextOptions(max_tokens=600)
    for segments in (
        frontend.segments(text, options, policy=SegmentPolicy(max_tokens=600, max_sentence_chars=2000)),
        frontend.whole_text_segments(text, options),
    ):
        (segment,) = segments
        *told, rest = segment.warnings
        assert (len(told), rest.message) == (100, "and 30 more")
        assert text[rest.start : rest.end].count("☃") == 30
        assert rest.start > told[-1].end


def test_warnings_of_text_without_a_segment_are_bounded_too(frontend: IndexTts2Frontend) -> None:
    segmenter = frontend.stream()
    for _ in range(150):
        assert [*segmenter.feed("☃ "), *segmenter.flush()] == []
    assert len(segmenter.warnings) == 101
    assert segmenter.warnings[-1].message == "and 50 more"
    (segment,) = [*segmenter.feed("We see the ☃ rain."), *segmenter.end()]
    assert segment.warnings[-1].message == "and 51 more"


def test_a_warning_names_code_points_and_not_the_text(frontend: IndexTts2Frontend) -> None:
    (segment,) = frontend.segments("We see the яд here")
    (warning,) = segment.warnings
    assert "U+044F, U+0434" in warning.message
    assert "яд" not in warning.message


def test_an_unknown_mark_between_words_leaves_them_apart(frontend: IndexTts2Frontend) -> None:
    (segment,) = frontend.segments("RED†RAIN and so on")
    assert segment.normalized == "RED RAIN and so on"


def test_an_accent_that_the_model_does_not_know_is_left_out_with_no_warning(frontend: IndexTts2Frontend) -> None:
    for cafe in ("café", "cafe\u0301"):
        (segment,) = frontend.segments(f"a {cafe} on the left")
        assert segment.normalized == "a cafe on the left"
        assert segment.warnings == ()


def test_the_warning_of_a_sentence_without_a_segment_goes_with_the_next(frontend: IndexTts2Frontend) -> None:
    segmenter = frontend.stream()
    assert [*segmenter.feed("я. "), *segmenter.flush()] == []
    assert [(warning.start, warning.end) for warning in segmenter.warnings] == [(0, 1)]
    (segment,) = [*segmenter.feed("We see the rain. "), *segmenter.end()]
    assert [(warning.start, warning.end) for warning in segment.warnings] == [(0, 1)]
    assert segmenter.warnings == ()


def test_a_glossary_makes_a_foreign_term_speakable(frontend: IndexTts2Frontend) -> None:
    text = "Привет."
    options = TextOptions(glossary=(("привет", "privet"),))
    frontend.check_text(text, options)
    (segment,) = frontend.segments(text, options)
    assert (segment.normalized, segment.warnings) == ("privet.", ())


@pytest.mark.parametrize(
    ("text", "languages", "language"),
    [
        ("Hello", ("zh", "en"), "en"),
        ("你好 hello", ("zh", "en"), "zh"),
        ("12", ("zh", "en"), "zh"),
        ("12", ("en-GB", "zh-Hans"), "en-GB"),
        ("你好", ("en-GB", "zh-Hans"), "zh-Hans"),
        ("你好", ("en",), "en"),
        ("Hello", ("fr", "de"), "fr"),
    ],
)
def test_a_language_is_found_among_those_of_the_model(text: str, languages: tuple[str, ...], language: str) -> None:
    assert detect(text, languages) == language


def test_a_text_has_the_language_of_its_first_words(frontend: IndexTts2Frontend) -> None:
    assert frontend.detect("12! Hello to you. 你好。") == "en"
    assert [segment.language for segment in frontend.segments("Hello there, my friend. 你好你好你好。")] == ["en", "zh"]
    assert frontend.segments("12", TextOptions(language="en"))[0].normalized == "twelve"
    assert frontend.segments("12", TextOptions(language="zh-CN"))[0].normalized == "十二"
