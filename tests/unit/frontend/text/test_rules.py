"""Every rule has a name, and a request can go without it."""

import pytest

from services.frontend.text import TextOptions
from services.frontend.text.backends import WetextBackend
from services.frontend.text.glossary import Glossary
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.normalizer import TextNormalizer
from services.frontend.text.phonemes import EnglishG2p
from services.frontend.text.spans import SpannedText

NAMES = Glossary({"tts": "speech"})


@pytest.fixture(scope="module")
def normalizer(wetext: WetextBackend) -> TextNormalizer:
    return TextNormalizer(wetext, glossary=NAMES, is_known=str.isascii)


@pytest.mark.parametrize(
    ("rule", "text", "with_it", "without_it"),
    [
        ("look_alikes", "soft\u00adly ａ", "softly a", "soft\u00adly ａ"),
        ("annotations", "<it's|X>", "<it's|X>", "<it is vertical bar X>"),
        ("glossary", "a TTS", "a speech", "a TTS"),
        ("contractions", "it's", "it is", "it's"),
        ("hyphens", "iso-9001", "iso-nine thousand and one", "iso-nine thousand one"),
        ("pinyin", "我xuan4", "我XVAN4", "我xuan四"),
        ("numbers", "5 apples", "five apples", "5 apples"),
        ("punctuation", "“a”；b", "'a',b", "“a”；b"),
        ("accents", "café", "cafe", "café"),
    ],
)
def test_a_rule_acts_and_can_be_switched_off(
    normalizer: TextNormalizer, rule: str, text: str, with_it: str, without_it: str
) -> None:
    assert rule in normalizer.rules
    assert normalizer.normalize(text, "en").text == with_it
    assert normalizer.normalize(text, "en", disabled=frozenset({rule})).text == without_it


def test_without_its_rule_a_name_is_read_with_the_numbers() -> None:
    class Minus:
        name = "minus"

        def chinese(self, text: str) -> str:
            return text.replace("-", "减")

        english = chinese

    normalizer = TextNormalizer(Minus())
    assert normalizer.normalize("约翰-保罗").text == "约翰-保罗"
    assert normalizer.normalize("约翰-保罗", disabled=frozenset({"names"})).text == "约翰减保罗"


def test_without_any_rule_the_text_is_spoken_as_it_is_written(frontend: IndexTts2Frontend) -> None:
    text = "It's “red”； <a|b>"
    disabled = frozenset(frontend.rules)
    assert TextNormalizer(WetextBackend()).normalize(text, disabled=disabled).text == text
    assert frontend.segments("it's red", TextOptions(disabled_rules=disabled))[0].normalized == "it's red"


@pytest.mark.parametrize(
    ("rule", "text", "without_it"),
    [
        ("look_alikes", "ａ", "ａ"),
        ("links", "[a](b)", "[a](b)"),
        ("glossary", "a TTS", "a TTS"),
        ("hashtags", "#a", "#a"),
        ("versions", "1.2.3", "1.2.3"),
        ("leading_zeros", "007", "007"),
        ("web_addresses", "a.com", "a.com"),
    ],
)
def test_rules_of_the_phoneme_front_end_can_be_switched_off(
    wetext: WetextBackend, g2p: EnglishG2p, rule: str, text: str, without_it: str
) -> None:
    written = SpannedText.of(text)
    assert rule in g2p.rules
    assert g2p.read(written, glossary=NAMES).respelled.text != without_it
    assert g2p.read(written, glossary=NAMES, disabled=frozenset({rule})).respelled.text == without_it


def test_a_word_that_the_converter_asserts_on_is_read_in_runs(g2p: EnglishG2p) -> None:
    phonemes = g2p.read(SpannedText.of("so ①What's up"))
    assert phonemes.spoken.text.endswith(g2p("What's") + " " + g2p("up"))
    assert phonemes.unread == []


def test_a_converter_that_fails_at_a_word_reads_the_others_and_spells_it(
    g2p: EnglishG2p, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = g2p._converter.tokenize

    def fail(text: str) -> object:
        if "bad" in text:
            raise AssertionError
        return convert(text)

    monkeypatch.setattr(g2p._converter, "tokenize", fail)
    text = SpannedText.of("a bad day")
    phonemes = g2p.read(text)
    assert phonemes.spoken.text == g2p("a") + " " + g2p("b a d") + " " + g2p("day")
    assert phonemes.unread == []


def test_a_word_that_cannot_even_be_spelled_is_reported(g2p: EnglishG2p, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> object:
        raise AssertionError

    monkeypatch.setattr(g2p._converter, "tokenize", fail)
    phonemes = g2p.read(SpannedText.of("so bad"))
    assert (phonemes.spoken.text, phonemes.unread) == ("", [(0, 2), (3, 6)])
