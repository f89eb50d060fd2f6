"""What a request may say about its text."""

from collections.abc import Iterable

import pytest

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.text import TextOptions
from services.frontend.text.glossary import Glossary
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.spans import SpannedText


def terms(*glossary: tuple[str, str]) -> TextOptions:
    return TextOptions(glossary=glossary)


@pytest.mark.parametrize(
    ("options", "field", "reason", "allowed"),
    [
        (TextOptions(language="fr"), "config.language", Reason.LANGUAGE_NOT_SUPPORTED, "zh, en"),
        *(
            (TextOptions(language=tag), "config.language", Reason.FIELD_INVALID, "BCP-47 tag.*zh, en")
            for tag in ("en-", "en--GB", "en_GB", "en-<b>", "en GB", "en-123456789", "en-x\n", "en" + "-abc" * 9, "-en")
        ),
        (
            TextOptions(disabled_rules=frozenset({"numbers", "x"})),
            "config.text.disabled_rules",
            Reason.OUT_OF_RANGE,
            "annotations",
        ),
        (TextOptions(max_tokens=9), "config.text.max_segment_tokens", Reason.OUT_OF_RANGE, "10 to 600"),
        (TextOptions(max_tokens=601), "config.text.max_segment_tokens", Reason.OUT_OF_RANGE, "10 to 600"),
        (terms(*((f"t{i}", "x") for i in range(101))), "config.text.glossary", Reason.OUT_OF_RANGE, "at most 100"),
        (terms(("", "x")), "config.text.glossary", Reason.OUT_OF_RANGE, "1 to 64"),
        (terms((" ", "x")), "config.text.glossary", Reason.OUT_OF_RANGE, "1 to 64"),
        (terms(("t" * 65, "x")), "config.text.glossary", Reason.OUT_OF_RANGE, "1 to 64"),
        (terms(("t", "")), "config.text.glossary", Reason.OUT_OF_RANGE, "1 to 256"),
        (terms(("t", "x" * 257)), "config.text.glossary", Reason.OUT_OF_RANGE, "1 to 256"),
        (terms(("t\n", "x")), "config.text.glossary", Reason.TEXT_BAD_CHARACTER, "none is allowed"),
        (terms(("t", "x\x00")), "config.text.glossary", Reason.TEXT_BAD_CHARACTER, "none is allowed"),
        (terms(("ab", "x"), ("AB", "y")), "config.text.glossary", Reason.FIELD_CONFLICT, "each may come once"),
        (terms(("t", "привет")), "config.text.glossary", Reason.LANGUAGE_NOT_SUPPORTED, "zh, en"),
    ],
)
def test_a_wrong_option_is_refused_by_its_field_and_what_is_allowed(
    frontend: IndexTts2Frontend, options: TextOptions, field: str, reason: Reason, allowed: str
) -> None:
    for check in (frontend.check_options, frontend.stream):
        with pytest.raises(InvalidRequestError, match=allowed) as caught:
            check(options)
        assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize(
    "options",
    [
        TextOptions(),
        TextOptions(language="en-GB"),
        TextOptions(language="ZH"),
        TextOptions(language="zh-Hans-CN-u-co-pinyin"),
        TextOptions(language="en" + "-abc" * 8),
        TextOptions(max_tokens=10),
        TextOptions(max_tokens=600),
        terms(("t" * 64, "x" * 256)),
        terms(*((f"t{i}", "x") for i in range(100))),
    ],
)
def test_what_is_just_allowed_passes(frontend: IndexTts2Frontend, options: TextOptions) -> None:
    frontend.check_options(options)


def test_every_rule_may_be_switched_off(frontend: IndexTts2Frontend) -> None:
    frontend.check_options(TextOptions(disabled_rules=frozenset(frontend.rules)))


def test_an_error_never_repeats_a_term(frontend: IndexTts2Frontend) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        frontend.check_options(terms(("secret\x00", "private")))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("We see TTS, tts and TTSs", "We see speech, speech and TTSs"),
        ("TTS’ (tts)", "speech' 'speech'"),
        ("今天TTS好", "今天speech好"),
        ("ＴＴＳ", "speech"),
        ("5 tts", "five speech"),
        ("It cost ABC", "It cost five dollars"),
    ],
)
def test_a_term_is_read_as_a_whole_word_whatever_its_case(frontend: IndexTts2Frontend, text: str, spoken: str) -> None:
    options = terms(("tts", "speech"), ("abc", "$5"))
    assert "".join(s.normalized for s in frontend.segments("red " + text, options)) == "red " + spoken


def test_the_longest_term_wins_and_readings_are_not_read_again() -> None:
    glossary = Glossary().before([("ai", "A I"), ("AI lab", "the ai place")])
    assert glossary.apply(SpannedText.of("An AI lab of AI"), "en").text == "An the ai place of A I"


def test_a_request_goes_before_the_checkpoint() -> None:
    glossary = Glossary({"TTS": "own", "GPU": "own", "CJK": {"zh": "own"}}).before([("tts", r"\1 request")])
    assert glossary.apply(SpannedText.of("TTS GPU CJK"), "en").text == r"\1 request own CJK"


def test_a_token_of_a_reading_has_the_place_of_its_term(frontend: IndexTts2Frontend) -> None:
    text = "We see TTS"
    (segment,) = frontend.segments(text, terms(("tts", "red rain")))
    sources = [text[token.start : token.end] for token in segment.tokens]
    assert sources[-2:] == ["TTS", "TTS"]


def test_the_terms_of_a_request_are_prepared_once_for_all_its_sentences(
    frontend: IndexTts2Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Glossary] = []
    before = Glossary.before

    def noted(glossary: Glossary, given: Iterable[tuple[str, str]]) -> Glossary:
        made.append(before(glossary, given))
        return made[-1]

    monkeypatch.setattr(Glossary, "before", noted)
    frontend.check_text("Привет! " * 50, terms(("Привет", "hello")))
    assert len(made) == 1
