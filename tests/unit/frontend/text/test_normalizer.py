"""What the goldens do not show: every rule of §3.1 with a case that only it decides."""

from pathlib import Path

import pytest

from services.common.checkpoint import CheckpointError
from services.frontend.text.backends import WetextBackend
from services.frontend.text.glossary import Glossary, load_glossary
from services.frontend.text.normalizer import TextNormalizer
from services.frontend.text.protect import NAME, PINYIN, Placeholders, correct_pinyin, letters
from services.frontend.text.rules import choose_language
from services.frontend.text.spans import SpannedText


class Echo:
    """A backend that reads nothing, so that only the rules around it show."""

    name = "echo"

    def chinese(self, text: str) -> str:
        return text

    def english(self, text: str) -> str:
        return text


class Refusing(Echo):
    """A backend that raises whenever a given string is in the text."""

    def __init__(self, refused: str) -> None:
        self._refused = refused

    def chinese(self, text: str) -> str:
        return self.english(text)

    def english(self, text: str) -> str:
        if self._refused in text:
            raise AssertionError
        return text.replace("5", "five")


def published(text: str) -> str:
    return TextNormalizer(Echo(), mended=False).normalize(text).text


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hello", "en"),
        ("hello 你", "zh"),
        ("12.5", "zh"),
        ("Привет", "zh"),
        ("me@example.com", "zh"),
        ("write to me@example.com", "en"),
        ("me.too@example.com", "en"),
        ("say xuan4 now", "zh"),
        ("say XUAN4 now", "zh"),
        ("beta2 now", "en"),
    ],
)
def test_language_is_chosen_by_characters_email_and_pinyin(text: str, language: str) -> None:
    assert choose_language(text) == language


def test_language_choice_does_not_see_inside_an_annotation() -> None:
    normalized = TextNormalizer(Echo(), mended=False).normalize("walk <行|XING2> on")
    assert (normalized.language, normalized.text) == ("en", "walk <行|XING2> on")


def test_annotations_come_back_untouched_by_every_other_rule() -> None:
    text = "<重|chong2:~>复，<it's|A-B>好 <重|chong2:~>"
    assert published(text) == "<重|chong2:~>复,<it's|A-B>好 <重|chong2:~>"


def test_chinese_is_stripped_at_the_end_and_english_is_not() -> None:
    assert published("你好 \n") == "你好"
    assert published("hello \n") == "hello  "


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("你～好~吗", "你-好-吗"),
        ("你[好]「吗」‘的’", "你'好''吗''的'"),
        ("好；是;不、对：吧", "好,是,不,对,吧"),
        ("好，，，吧", "好,,,吧"),
        ("好,,,吧", "好…吧"),
        ("好……吧...", "好…吧…"),
        ("好$吧", "好.吧"),
        ("a ~ $b", "a - $b"),
        ("a\nb", "a b"),
    ],
)
def test_punctuation_is_mapped(text: str, spoken: str) -> None:
    assert published(text) == spoken


def test_names_are_hidden_from_the_backend() -> None:
    assert published("约翰—保罗·高登说") == "约翰-保罗-高登说"
    names = Placeholders("<n_{}>")
    assert names.hide(NAME, SpannedText.of("约翰—保罗，约翰—保罗·高")).text == "<n_b>，<n_a>"
    assert names.restore(SpannedText.of("<n_b>，<n_a>")).text == "约翰—保罗，约翰—保罗·高"


def test_pinyin_is_hidden_longest_first_and_corrected_after() -> None:
    hidden = Placeholders("<pinyin_{}>")
    assert hidden.hide(PINYIN, SpannedText.of("an1 xuan4 an1")).text == "<pinyin_b> <pinyin_a> <pinyin_b>"
    assert published("读lü4和xuan4和jia3，不读babala2") == "读lü4和XVAN4和JIA3,不读babala2"


@pytest.mark.parametrize(
    ("syllable", "corrected"),
    [
        ("ju4", "JV4"),
        ("que4", "QVE4"),
        ("Xün2", "XVN2"),
        ("jia3", "JIA3"),
        ("nü3", "nü3"),
        ("shang5", "shang5"),
    ],
)
def test_pinyin_of_j_q_x_is_spelled_with_v(syllable: str, corrected: str) -> None:
    assert correct_pinyin(syllable) == corrected


def test_more_than_26_placeholders_keep_distinct_names() -> None:
    assert [letters(i) for i in (0, 25, 26, 27, 702)] == ["a", "z", "aa", "ab", "aaa"]
    text = " ".join(f"<t{i}|p{i}>" for i in range(60)) + " 好"
    assert published(text) == text


def test_published_contractions_have_no_word_boundary_and_mended_ones_do() -> None:
    mended = TextNormalizer(Echo())
    assert published("Kit's book, what's up") == "Kit is book, what is up"
    assert mended.normalize("Kit's book, what's up").text == "Kit's book, what is up"
    assert published("where’s it") == "where's it"
    assert mended.normalize("where’s it").text == "where is it"


def test_hyphens_of_terms_survive_spaces_that_the_backend_adds() -> None:
    class Spacing(Echo):
        def english(self, text: str) -> str:
            return text.replace("<H>", " <H> ")

    assert TextNormalizer(Spacing(), mended=False).normalize("F5-TTS and GPT-5-Nano").text == ("F5-TTS and GPT-5-Nano")


def test_an_exception_loses_chinese_and_keeps_english_as_published() -> None:
    normalizer = TextNormalizer(Refusing("5"), mended=False)
    assert normalizer.normalize("五5").text == ""
    assert normalizer.normalize("its 5").text == "its 5"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("I have 5. Oh ##! And 5.", "I have five. Oh ##! And five."),
        ("我有5。哦##！还有5。", "我有five.哦##!还有five."),
        ("x5## w5", "x five## wfive"),
    ],
)
def test_mended_keeps_all_text_and_reads_all_that_the_backend_takes(text: str, spoken: str) -> None:
    assert TextNormalizer(Refusing("##")).normalize(text).text == spoken


def test_mended_keeps_the_text_when_the_backend_swallows_it_or_a_placeholder() -> None:
    class Swallowing(Echo):
        def english(self, text: str) -> str:
            return "" if "gone" in text else text.replace("PRON", "")

    normalizer = TextNormalizer(Swallowing())
    assert normalizer.normalize("1 gone").text == "1 gone"
    assert normalizer.normalize("1 <tear|T EH R> here").text == "1 <tear|T EH R> here"


def test_glossary_applies_the_longest_term_first_by_language_whatever_the_case() -> None:
    glossary = Glossary({"M.2": {"en": "M dot two", "zh": "M二"}, "ai": "A I", "AI lab": "the lab"})
    normalizer = TextNormalizer(Echo(), glossary=glossary, mended=False)
    assert normalizer.normalize("An m.2 from the AI LAB").text == "An M dot two from the the lab"
    assert normalizer.normalize("这是M.2").text == "这是M二"
    assert normalizer.normalize("he said").text == "he sA Id"
    assert TextNormalizer(Echo(), glossary=glossary).normalize("he said AI").text == "he said A I"


def test_a_term_without_the_language_stays_itself_and_readings_are_literal() -> None:
    glossary = Glossary({"tts": {"zh": "语音"}, "path": r"\1 back\slash"})
    normalizer = TextNormalizer(Echo(), glossary=glossary, mended=False)
    assert normalizer.normalize("a TTS").text == "a tts"
    assert normalizer.normalize("path").text == r"\1 back\slash"


@pytest.mark.parametrize("content", ["[a, b]", "a: [1]", "a: {fr: x}", "1: x", "a: {", '"": x'])
def test_a_broken_glossary_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "glossary.yaml"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="glossary.yaml"):
        load_glossary(path)


def test_a_missing_glossary_is_empty_and_a_good_one_is_read(tmp_path: Path) -> None:
    text = SpannedText.of("tts ai")
    assert load_glossary(tmp_path / "none.yaml").apply(text, "en") == text
    path = tmp_path / "glossary.yaml"
    path.write_text("TTS: speech\nAI: {en: A I, zh: 人工智能}\n", encoding="utf-8")
    assert load_glossary(path).apply(text, "zh").text == "speech 人工智能"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ('She said "hello" 5 times.', "She said 'hello' five times."),
        (r"a back\slash 5", r"a back\slash five"),
        ("two  spaces\t 5", "two spaces five"),
        ("It is #1 of 5.", "It is number one of five."),
        (
            "It was $1,234.56 then",
            "It was one thousand two hundred and thirty four point five six dollars then",
        ),
        ("cost £1,000.50 or €1,001", "cost one thousand point five zero pounds or one thousand one euros"),
        ("1,999 people", "one thousand nine hundred and ninety nine people"),
        ("2,345 in 1999", "two thousand three hundred and forty five in nineteen ninety nine"),
        ("the 1990s, 2000s, 2010s", "the nineteen nineties, two thousands, twenty tens"),
        ("No. It is no. 5", "No. It is number five"),
        ("2½ cups", "two and a half cups"),
        ("1.5M people", "one point five M people"),
        ("version 2.0.1", "version two point zero point one"),
        ("~5 people", "about five people"),
        ("5$ or 5¢", "five dollars or five cents"),
        ("ask #tag, §5, ₹5, [5]", "ask hash tag, §five, ₹five, 'five'"),
        ("The Sun and Mon-Khmer", "The Sun and Mon-Khmer"),
        ("zero\u200bwidth ５ Ⅳ", "zerowidth five IV"),
        ("1990s年代有1,234人", "一九九零年代有一千二百三十四人"),
        ('他说"5"', "他说'五'"),
    ],
)
def test_faults_of_wetext_are_mended(wetext: WetextBackend, text: str, spoken: str) -> None:
    assert TextNormalizer(wetext).normalize(text).text == spoken


def test_digits_alone_follow_the_default_language_outside_parity(wetext: WetextBackend) -> None:
    assert TextNormalizer(wetext).normalize("25.", "en").text == "twenty five."
    assert TextNormalizer(wetext).normalize("25.", "zh").text == "二十五."
    assert TextNormalizer(wetext, mended=False).normalize("25.", "en").text == "二十五."
