"""English text to phonemes, through a character-level SentencePiece model made here."""

import io
from pathlib import Path

import pytest
import sentencepiece

from services.common.checkpoint import CheckpointConfig, CheckpointError
from services.common.errors import InvalidRequestError
from services.frontend.text.backends import WetextBackend
from services.frontend.text.frontend import build_frontend
from services.frontend.text.options import TextOptions
from services.frontend.text.phoneme_frontend import PhonemeFrontend
from services.frontend.text.phonemes import EnglishG2p, load_g2p

ALPHABET = "AIOQSTWYabcdefhijklmnopqrstuvwxyzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻˈˌː.,!?;:—…()“”"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(ALPHABET)] * 3),
        model_writer=model,
        model_type="char",
        character_coverage=1.0,
        vocab_size=len(ALPHABET) + 4,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        minloglevel=2,
    )
    directory = tmp_path_factory.mktemp("mini")
    (directory / "bpe.model").write_bytes(model.getvalue())
    return directory


@pytest.fixture(scope="module")
def config() -> CheckpointConfig:
    text = {"frontend": "phonemes", "g2p": "hibari", "uppercase": False, "max_text_tokens_per_segment": 80}
    return CheckpointConfig.model_validate({"triptych": {"text": text, "languages": ["en"]}})


@pytest.fixture(scope="module")
def frontend(config: CheckpointConfig, model_dir: Path, wetext: WetextBackend) -> PhonemeFrontend:
    frontend = build_frontend(config, model_dir, backend=wetext)
    assert isinstance(frontend, PhonemeFrontend)
    return frontend


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("$1,234.56", "one thousand two hundred thirty four dollars and fifty six cents"),
        ("at 3:45 today", "at three forty-five today"),
        ("Dr. Smith", "Doctor Smith"),
        ("No. 5", "number five"),
        ("21st of 1,000", "twenty first of one thousand"),
        ("25%", "twenty five percent"),
        ("10 km/h", "ten kilometers per hour"),
        ("www.google.com", "WWW dot google dot com"),
        ("mail me@example.com.", "mail me at example dot com."),
        ("#winning", "hashtag winning"),
        ("agent 007", "agent oh oh 7"),
        ("in version 2.0.1", "in version two point zero point one"),
        ("see [this](/ʌvɪl/)", "see this"),
        ("５ pigs", "five pigs"),
        ("fine 😀 pigs", "fine pigs"),
    ],
)
def test_numbers_abbreviations_money_and_addresses_are_spoken(g2p: EnglishG2p, written: str, spoken: str) -> None:
    stressless = str.maketrans("", "", "ˈˌ")
    assert g2p(written).translate(stressless) == g2p(spoken).translate(stressless)


def test_one_token_per_phoneme_and_none_is_upper_cased(frontend: PhonemeFrontend, g2p: EnglishG2p) -> None:
    (segment,) = frontend.segments("Hello there, xylozoquik.")
    assert len(segment.token_ids) == len(g2p(segment.text))
    assert segment.warnings == ()


def test_segments_are_within_the_limit_of_the_config(frontend: PhonemeFrontend) -> None:
    segments = frontend.segments("This is a rather long sentence, with clauses, which goes on and on and on, " * 4)
    assert len(segments) >= 4
    assert max(len(segment.token_ids) for segment in segments) <= 80
    assert frontend.whole_text_segments("One. Two.", TextOptions(max_tokens=80))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("☃ One of them. Two of them.", [0]),
        ("One of them. ☃ Two of them we see, and go on. ☃", [13, 46]),
        ("One of them we see here and go. ☃", [32]),
    ],
)
def test_a_whole_text_reports_what_is_in_none_of_its_published_segments(
    frontend: PhonemeFrontend, text: str, places: list[int]
) -> None:
    segments = frontend.whole_text_segments(text, TextOptions(max_tokens=20))
    assert [warning.start for segment in segments for warning in segment.warnings] == places


def test_a_british_voice_reads_otherwise(wetext: WetextBackend, g2p: EnglishG2p) -> None:
    assert load_g2p("hibari-gb", wetext)("a car") != g2p("a car")


def test_a_script_that_the_model_cannot_speak_is_refused(frontend: PhonemeFrontend) -> None:
    for speak in (frontend.segments, frontend.whole_text_segments, frontend.stream().feed):
        with pytest.raises(InvalidRequestError, match="languages are: en"):
            speak("今天天气很好。我们走吧。好。" * 3)


def test_a_stray_foreign_letter_is_dropped_and_reported(frontend: PhonemeFrontend) -> None:
    (segment,) = frontend.segments("The letter π is known to everyone.")
    (warning,) = segment.warnings
    assert segment.text[warning.start : warning.end] == "π"
    assert "U+03C0" in warning.message


@pytest.mark.parametrize("name", [None, "espeak"])
def test_an_unknown_g2p_is_refused_with_the_known_ones(wetext: WetextBackend, name: str | None) -> None:
    with pytest.raises(CheckpointError, match="hibari"):
        load_g2p(name, wetext)


def test_a_vocabulary_larger_than_the_model_is_refused(model_dir: Path, wetext: WetextBackend) -> None:
    small = CheckpointConfig.model_validate({"gpt": {"number_text_tokens": 10}})
    with pytest.raises(CheckpointError, match="number_text_tokens is 10"):
        build_frontend(small, model_dir, backend=wetext)


def test_a_picture_is_reported_and_not_shown_as_spoken(frontend: PhonemeFrontend) -> None:
    text = "Hello ☃ world, go → there 👨\u200d👩."
    (segment,) = frontend.segments(text)
    assert segment.normalized == "Hello world, go → there ."  # an arrow is read
    assert [text[warning.start : warning.end] for warning in segment.warnings] == ["☃", "👨\u200d👩."]
