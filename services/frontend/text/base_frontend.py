"""What the front ends of all model families share: limits, checks and the order of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import accumulate

from services.common.checkpoint import CheckpointConfig, CheckpointError
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.text import options as checks
from services.frontend.text import scripts
from services.frontend.text.glossary import Glossary
from services.frontend.text.options import TextOptions
from services.frontend.text.segment import Encoded, Segment, Token, bounded
from services.frontend.text.segmenter import Segmenter, SegmentPolicy
from services.frontend.text.sentences import sentences
from services.frontend.text.spans import Span, SpannedText
from services.frontend.text.splitter import split_indices
from services.frontend.text.tokenizer import Tokenizer
from services.frontend.text.validation import check_text, is_speakable

MAX_CHARS = 20_000
DEFAULTS = TextOptions()


class BaseFrontend(ABC):
    """A front end is this, plus how one piece of text becomes tokens."""

    rules: tuple[str, ...]

    def __init__(
        self, config: CheckpointConfig, tokenizer: Tokenizer, glossary: Glossary, script: scripts.Script
    ) -> None:
        self.languages = tuple(config.triptych.languages)
        self.max_tokens_limit = config.gpt.max_text_tokens
        limit = min(config.triptych.text.max_text_tokens_per_segment, self.max_tokens_limit)
        self.default_policy = SegmentPolicy(max_tokens=limit)
        self._tokenizer = tokenizer
        self._glossary = glossary
        self._script = script
        if tokenizer.num_pieces > config.gpt.number_text_tokens:
            raise CheckpointError(
                f"{config.dataset.bpe_model} has {tokenizer.num_pieces} pieces, "
                f"gpt.number_text_tokens is {config.gpt.number_text_tokens}"
            )

    def check_options(self, options: TextOptions) -> None:
        checks.check_language(options.language, self.languages)
        checks.check_rules(options.disabled_rules, self.rules)
        checks.check_glossary(options.glossary)
        checks.check_max_tokens(options.max_tokens, self.max_tokens_limit)
        for _, reading in options.glossary:
            self._script.check(reading, field="config.text.glossary")

    def check_text(
        self, text: str, options: TextOptions = DEFAULTS, *, policy: SegmentPolicy | None = None, field: str = "text"
    ) -> None:
        glossary = self._glossary.before(options.glossary)
        check = self._sentence_check(options, glossary, field)
        for start, end in sentences(text, (policy or self.default_policy).max_sentence_chars):
            check(text[start:end])
        if not self._read_terms(text, options, glossary) and is_speakable(text):
            self._script.check_any(text, field)

    def detect(self, text: str) -> str:
        spans = sentences(text, self.default_policy.max_sentence_chars)
        found = (text[start:end] for start, end in spans if scripts.has_letters(text[start:end]))
        return scripts.detect(next(found, ""), self.languages)

    def stream(self, options: TextOptions = DEFAULTS, *, policy: SegmentPolicy | None = None) -> Segmenter:
        self.check_options(options)
        policy = policy or self.default_policy
        if options.max_tokens is not None:
            policy = replace(policy, max_tokens=options.max_tokens)
        glossary = self._glossary.before(options.glossary)
        encode = partial(self.encode, options=options, glossary=glossary)
        return Segmenter(lru_cache(maxsize=4)(encode), policy, self._sentence_check(options, glossary, "text"))

    def segments(
        self,
        text: str,
        options: TextOptions = DEFAULTS,
        *,
        policy: SegmentPolicy | None = None,
        max_chars: int = MAX_CHARS,
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        segmenter = self.stream(options, policy=policy)
        self.check_text(text, options, policy=policy)
        return _spoken([*segmenter.feed(text), *segmenter.end()])

    def whole_text_segments(
        self, text: str, options: TextOptions = DEFAULTS, *, quick_tokens: int = 0, max_chars: int = MAX_CHARS
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        self.check_options(options)
        self.check_text(text, options)
        max_tokens = options.max_tokens or self.default_policy.max_tokens
        whole = self.encode_published(text)
        parts = split_indices([token.piece for token in whole.tokens], max_tokens, quick_tokens)
        tokens = [tuple(whole.tokens[index] for index in part) for part in parts]
        language = options.language or self.detect(text)
        segments = _published_segments(tokens, text, whole, language)
        return _spoken([replace(segment, normalized=self._surface(segment, whole)) for segment in segments])

    @abstractmethod
    def encode_published(self, text: str) -> Encoded:
        """Return the tokens of a whole text, as the model was published."""

    @abstractmethod
    def encode(self, text: str, options: TextOptions, glossary: Glossary) -> Encoded:
        """Return the tokens of a piece of text. None of them is unknown to the model."""

    def _surface(self, segment: Segment, whole: Encoded) -> str:
        """What is spoken in a published segment: all of the text, or what its tokens that the model knows spell."""
        if segment.tokens == whole.tokens:
            return " ".join(whole.normalized.split())
        pieces = [token.piece for token in segment.tokens if not self._tokenizer.is_unknown(token.id)]
        return " ".join("".join(pieces).replace("▁", " ").split())

    def _sentence_check(self, options: TextOptions, glossary: Glossary, field: str) -> Callable[[str], None]:
        def check(sentence: str) -> None:
            # A term in a foreign script may have a reading that is none.
            if self._script.is_foreign(sentence):
                self._script.check(self._read_terms(sentence, options, glossary) or sentence, field)

        return check

    def _read_terms(self, text: str, options: TextOptions, glossary: Glossary) -> str:
        """The text with its terms read; empty when there are none."""
        if "glossary" in options.disabled_rules:
            return ""
        language = "en" if checks.primary(options.language or self.detect(text)) == "en" else "zh"
        read = glossary.apply(SpannedText.of(text), language).text
        return read if read != text else ""


def _spoken(segments: list[Segment]) -> list[Segment]:
    if segments:
        return segments
    raise InvalidRequestError(
        "text has nothing that this model can speak", field="text", reason=Reason.TEXT_NOT_SPEAKABLE
    )


def _published_segments(parts: Sequence[tuple[Token, ...]], text: str, whole: Encoded, language: str) -> list[Segment]:
    """Make segments of published parts. A quote that is in two parts belongs to the first one's span."""
    spans = [_cover(part) for part in parts]
    ends = list(accumulate((end for _, end in spans), max))
    starts = [min(max(start, before), end) for (start, _), before, end in zip(spans, [0, *ends], ends, strict=False)]
    # Of text that is in no segment, the next one takes the warnings along; after the last one, that one does.
    borders = [0, *ends[:-1], len(text)]
    return [
        Segment(
            index=index,
            text=text[start:end],
            start=start,
            end=end,
            tokens=part,
            language=language,
            warnings=bounded(
                [warning for warning in whole.warnings if borders[index] <= warning.start < borders[index + 1]]
            ),
        )
        for index, (part, start, end) in enumerate(zip(parts, starts, ends, strict=True))
    ]


def _cover(tokens: Sequence[Token]) -> Span:
    return min(token.start for token in tokens), max(token.end for token in tokens)
