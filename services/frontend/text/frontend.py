"""The text front ends of the model families, behind one protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from services.common.checkpoint import CheckpointConfig, CheckpointError, CheckpointFiles
from services.common.errors import InvalidRequestError
from services.frontend.text.backends import Backend, find_backend
from services.frontend.text.glossary import Glossary, load_glossary
from services.frontend.text.normalizer import Language, TextNormalizer
from services.frontend.text.phonemes import load_g2p
from services.frontend.text.segmenter import Encoded, Segment, Segmenter, SegmentPolicy
from services.frontend.text.splitter import split_pieces
from services.frontend.text.tokenizer import Tokenizer, pretokenize
from services.frontend.text.validation import check_latin, check_text

MAX_CHARS = 20_000


class TextFrontend(Protocol):
    """Text of one model to segments of its token ids. Thread-safe; the segmenters it makes are not."""

    languages: tuple[str, ...]
    default_policy: SegmentPolicy
    max_tokens_limit: int
    """Most tokens of a segment that the model has positions for."""

    def stream(
        self, *, policy: SegmentPolicy | None = None, max_tokens: int | None = None, language: str = ""
    ) -> Segmenter:
        """Return the machine for a text that arrives in pieces."""
        ...

    def segments(
        self,
        text: str,
        *,
        policy: SegmentPolicy | None = None,
        max_tokens: int | None = None,
        language: str = "",
        max_chars: int = MAX_CHARS,
    ) -> list[Segment]:
        """Return the segments of a whole text: those of `stream`."""
        ...

    def whole_text_segments(
        self, text: str, *, max_tokens: int | None = None, quick_tokens: int = 0, max_chars: int = MAX_CHARS
    ) -> list[Segment]:
        """Return the segments as published (`compat`): the whole text is tokenized, then split."""
        ...


class _Frontend(ABC):
    """What both front ends share: limits, the segmenter, and the published order of whole texts."""

    def __init__(self, config: CheckpointConfig, tokenizer: Tokenizer) -> None:
        self.languages = tuple(config.triptych.languages)
        self.max_tokens_limit = config.gpt.max_text_tokens
        limit = min(config.triptych.text.max_text_tokens_per_segment, self.max_tokens_limit)
        self.default_policy = SegmentPolicy(max_tokens=limit)
        self._tokenizer = tokenizer
        if tokenizer.num_pieces > config.gpt.number_text_tokens:
            raise CheckpointError(
                f"{config.dataset.bpe_model} has {tokenizer.num_pieces} pieces, "
                f"gpt.number_text_tokens is {config.gpt.number_text_tokens}"
            )

    def stream(
        self, *, policy: SegmentPolicy | None = None, max_tokens: int | None = None, language: str = ""
    ) -> Segmenter:
        policy = policy or self.default_policy
        policy = replace(policy, max_tokens=self._checked(max_tokens, policy.max_tokens))
        return Segmenter(lru_cache(maxsize=4)(self._encoder(language)), policy)

    def segments(
        self,
        text: str,
        *,
        policy: SegmentPolicy | None = None,
        max_tokens: int | None = None,
        language: str = "",
        max_chars: int = MAX_CHARS,
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        segmenter = self.stream(policy=policy, max_tokens=max_tokens, language=language)
        return _spoken([*segmenter.feed(text), *segmenter.end()])

    def whole_text_segments(
        self, text: str, *, max_tokens: int | None = None, quick_tokens: int = 0, max_chars: int = MAX_CHARS
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        max_tokens = self._checked(max_tokens, self.default_policy.max_tokens)
        parts = split_pieces(self.published_pieces(text), max_tokens, quick_tokens)
        return _spoken(_place(parts, text, self._encode_pieces))

    @abstractmethod
    def published_pieces(self, text: str) -> list[str]:
        """Return the pieces of a whole text, as the model was published."""

    @abstractmethod
    def _encoder(self, language: str) -> Callable[[str], Encoded]:
        """Return what turns a normalised piece of text into ids."""

    def _encode_pieces(self, pieces: Sequence[str]) -> Encoded:
        ids = self._tokenizer.ids(pieces)
        unknown = [piece for piece, token in zip(pieces, ids, strict=True) if self._tokenizer.is_unknown(token)]
        return Encoded(tuple(ids), len(unknown), _unknown_warning(unknown))

    def _checked(self, max_tokens: int | None, default: int) -> int:
        if max_tokens is None:
            return default
        if not 1 <= max_tokens <= self.max_tokens_limit:
            raise InvalidRequestError(
                f"max_text_tokens_per_segment is {max_tokens}; 1 to {self.max_tokens_limit} are allowed",
                field="max_text_tokens_per_segment",
                reason="OUT_OF_RANGE",
            )
        return max_tokens


class IndexTts2Frontend(_Frontend):
    """Chinese and English words in SentencePiece pieces (§3)."""

    def __init__(self, config: CheckpointConfig, tokenizer: Tokenizer, backend: Backend, glossary: Glossary) -> None:
        super().__init__(config, tokenizer)
        self._is_upper = config.triptych.text.uppercase
        self._mended = TextNormalizer(backend, glossary=glossary)
        self._published = TextNormalizer(backend, glossary=glossary, mended=False)

    def published_pieces(self, text: str) -> list[str]:
        if len(text.strip()) <= 1:
            return self._tokenizer.pieces(text) if text.strip() else []
        return self._pieces(self._published.normalize(text).text)

    def _encoder(self, language: str) -> Callable[[str], Encoded]:
        # Digits alone follow the request's language; nothing said means the model's first one.
        tag = (language or self.languages[0] if self.languages else "zh").split("-")[0].lower()
        return partial(self._encode, default="en" if tag == "en" else "zh")

    def _encode(self, text: str, default: Language) -> Encoded:
        return self._encode_pieces(self._pieces(self._mended.normalize(text, default).text))

    def _pieces(self, spoken: str) -> list[str]:
        return self._tokenizer.pieces(pretokenize(spoken, uppercase=self._is_upper))


class PhonemeFrontend(_Frontend):
    """English phonemes, one token per character. Characters outside the alphabet are dropped and reported."""

    def __init__(self, config: CheckpointConfig, tokenizer: Tokenizer, g2p: Callable[[str], str]) -> None:
        super().__init__(config, tokenizer)
        # Twice the tokens of a word-piece model say about as much.
        self.default_policy = replace(self.default_policy, merge_tokens=40, first_merge_tokens=12)
        self._g2p = g2p

    def published_pieces(self, text: str) -> list[str]:
        check_latin(text, self.languages)
        pieces = self._tokenizer.pieces(self._g2p(text))
        known = (not self._tokenizer.is_unknown(token) for token in self._tokenizer.ids(pieces))
        return [piece for piece, is_known in zip(pieces, known, strict=True) if is_known]

    def _encoder(self, language: str) -> Callable[[str], Encoded]:
        return self._encode

    def _encode(self, text: str) -> Encoded:
        foreign = check_latin(text, self.languages)
        pieces = self._tokenizer.pieces(self._g2p(text))
        ids = self._tokenizer.ids(pieces)
        known = tuple(token for token in ids if not self._tokenizer.is_unknown(token))
        return Encoded(known, len(ids) - len(known) + len(foreign), _unknown_warning(foreign))


def build_frontend(config: CheckpointConfig, model_dir: Path | str, *, backend: Backend | None = None) -> TextFrontend:
    """Return the front end that a checkpoint's config names (`triptych.text.frontend`).

    Raises:
        CheckpointError: if a file is missing or damaged, or a library is not installed.
    """
    files = CheckpointFiles.locate(model_dir, config)
    tokenizer = Tokenizer(files.bpe_model)
    backend = backend or find_backend()
    if config.triptych.text.frontend == "phonemes":
        return PhonemeFrontend(config, tokenizer, load_g2p(config.triptych.text.g2p, backend))
    return IndexTts2Frontend(config, tokenizer, backend, load_glossary(files.glossary))


def _spoken(segments: list[Segment]) -> list[Segment]:
    if segments:
        return segments
    raise InvalidRequestError("text has nothing that this model can speak", field="text", reason="TEXT_NOT_SPEAKABLE")


def _unknown_warning(unknown: Sequence[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    return (f"{len(unknown)} unknown to the model: {' '.join(dict.fromkeys(unknown))}",)


def _place(parts: Sequence[Sequence[str]], text: str, encode: Callable[[Sequence[str]], Encoded]) -> list[Segment]:
    """Make segments of published parts. Their spans are estimates: in proportion to their tokens."""
    num_tokens = sum(map(len, parts))
    segments: list[Segment] = []
    start = passed = 0
    for index, part in enumerate(parts):
        passed += len(part)
        end = len(text) * passed // num_tokens
        encoded = encode(part)
        segments.append(
            Segment(index, text[start:end], start, end, encoded.token_ids, encoded.num_unknown, encoded.warnings)
        )
        start = end
    return segments
