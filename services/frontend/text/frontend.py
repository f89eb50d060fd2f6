"""The text front ends of the model families, behind one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from services.common.checkpoint import CheckpointConfig, CheckpointFiles
from services.frontend.text.backends import Backend, find_backend
from services.frontend.text.base_frontend import DEFAULTS, MAX_CHARS
from services.frontend.text.glossary import load_glossary
from services.frontend.text.indextts2_frontend import IndexTts2Frontend
from services.frontend.text.options import TextOptions
from services.frontend.text.phoneme_frontend import PhonemeFrontend
from services.frontend.text.phonemes import load_g2p
from services.frontend.text.segment import Segment
from services.frontend.text.segmenter import Segmenter, SegmentPolicy
from services.frontend.text.tokenizer import Tokenizer


class TextFrontend(Protocol):
    """Text of one model to segments of its tokens. Thread-safe; the segmenters it makes are not."""

    languages: tuple[str, ...]
    """BCP-47 tags."""
    rules: tuple[str, ...]
    """Names of the rules of normalisation in the order in which they are applied."""
    default_policy: SegmentPolicy
    max_tokens_limit: int
    """Most tokens of a segment that the model has positions for."""

    def check_options(self, options: TextOptions) -> None:
        """Check what a request says about its text.

        Raises:
            InvalidRequestError: with the field's path and what is allowed.
        """
        ...

    def check_text(
        self, text: str, options: TextOptions = DEFAULTS, *, policy: SegmentPolicy | None = None, field: str = "text"
    ) -> None:
        """Refuse a whole text that would be refused while it is spoken: one sentence in a foreign script is enough.

        Takes microseconds a sentence: nothing is normalised. Limits of length are not checked here.

        Raises:
            InvalidRequestError: with the model's languages.
        """
        ...

    def detect(self, text: str) -> str:
        """The BCP-47 tag of the language that a text begins in, among the model's."""
        ...

    def stream(self, options: TextOptions = DEFAULTS, *, policy: SegmentPolicy | None = None) -> Segmenter:
        """Return the machine for a text that arrives in pieces."""
        ...

    def segments(
        self,
        text: str,
        options: TextOptions = DEFAULTS,
        *,
        policy: SegmentPolicy | None = None,
        max_chars: int = MAX_CHARS,
    ) -> list[Segment]:
        """Return the segments of a whole text: those of `stream`."""
        ...

    def whole_text_segments(
        self, text: str, options: TextOptions = DEFAULTS, *, quick_tokens: int = 0, max_chars: int = MAX_CHARS
    ) -> list[Segment]:
        """Return the segments as published (`compat`): the whole text is tokenized, then split.

        Options that the published way does not know have no effect here; a caller refuses them.
        """
        ...


def build_frontend(config: CheckpointConfig, model_dir: Path | str, *, backend: Backend | None = None) -> TextFrontend:
    """Return the front end that a checkpoint's config names (`triptych.text.frontend`).

    Raises:
        CheckpointError: if a file is missing or damaged, or a library is not installed.
    """
    files = CheckpointFiles.locate(model_dir, config)
    tokenizer = Tokenizer(files.bpe_model)
    glossary = load_glossary(files.glossary)
    backend = backend or find_backend()
    if config.triptych.text.frontend == "phonemes":
        return PhonemeFrontend(config, tokenizer, load_g2p(config.triptych.text.g2p, backend), glossary)
    return IndexTts2Frontend(config, tokenizer, backend, glossary)
