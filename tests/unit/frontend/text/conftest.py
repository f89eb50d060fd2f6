"""One backend for all text tests: loading its FSTs takes a second."""

from pathlib import Path

import pytest

from services.common.checkpoint import CheckpointConfig
from services.frontend.text.backends import WetextBackend
from services.frontend.text.glossary import Glossary
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.phonemes import EnglishG2p
from services.frontend.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "text"


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def wetext() -> WetextBackend:
    return WetextBackend()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(GOLDEN / "tiny-a" / "bpe.model")


@pytest.fixture(scope="session")
def frontend(wetext: WetextBackend, tokenizer: Tokenizer) -> IndexTts2Frontend:
    return IndexTts2Frontend(CheckpointConfig(), tokenizer, wetext, Glossary())


@pytest.fixture(scope="session")
def g2p(wetext: WetextBackend) -> EnglishG2p:
    return EnglishG2p(wetext)
