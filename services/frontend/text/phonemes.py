"""English text to misaki-style phonemes, for checkpoints trained on those (`text.frontend: phonemes`).

hibari's own number reader comes first, because it wrote the training labels; only what it misreads is
respelled before it, by named rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.common.checkpoint import CheckpointError
from services.frontend.text import characters
from services.frontend.text.alignment import align
from services.frontend.text.backends import Backend
from services.frontend.text.glossary import Glossary
from services.frontend.text.mending import MendedReader
from services.frontend.text.rules import Draft, Rule, apply_glossary, apply_rules, rule_names
from services.frontend.text.spans import Span, SpannedText

_WEB_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s,;!?]*[^\s,;!?.)\]\"'”’]|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b[A-Za-z][\w-]*\.(?:com|org|net|edu|gov|io|dev|ai|co\.uk)\b(?:/[^\s,;!?]*[^\s,;!?.)\]\"'”’])?"
)
_HASHTAG = re.compile(r"(?<!\w)#(?=[A-Za-z])")
_LEADING_ZEROS = re.compile(r"(?<![\w.,:/-])0+(?=\d)(?![\d]*[.,:/-]\d)")
_VERSION = re.compile(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)(?!\.?\d)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_WORD = re.compile(r"\S+")
_RUN = re.compile("[0-9]+|[A-Za-z\u00c0-\u024f]+(?:['’][A-Za-z\u00c0-\u024f]+)*|.")


@dataclass
class Phonemes:
    """How a text sounds."""

    respelled: SpannedText
    """The words as they are read."""
    spoken: SpannedText
    """One character per phoneme; words by spaces, punctuation kept. A phoneme has the span of its word."""
    unread: list[Span] = field(default_factory=list)
    """Words and letters of the original that nothing is said for."""


class EnglishG2p:
    """hibari-tts's grapheme-to-phoneme converter: no espeak, no torch; loads in half a second.

    Unknown words go through a small ONNX network, so the process needs onnxruntime.
    """

    def __init__(self, backend: Backend, *, is_british: bool = False) -> None:
        from hibari.g2p import G2P  # noqa: PLC0415 - only checkpoints with a phoneme front end need it
        from hibari.g2p.normalize import normalize  # noqa: PLC0415 - likewise

        self._rules = _respelling(MendedReader(backend))
        self._normalize: Callable[[str], str] = normalize
        self._converter: Any = G2P(british=is_british)
        self._converter("zyzzxq")  # loads the network of unknown words now, not in the first request

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules in the order in which they are applied."""
        return rule_names(self._rules)

    def __call__(self, text: str) -> str:
        """Return the phonemes of `text`: words by spaces, punctuation kept."""
        return self.read(SpannedText.of(text)).spoken.text

    def read(
        self, text: SpannedText, *, glossary: Glossary | None = None, disabled: frozenset[str] = frozenset()
    ) -> Phonemes:
        """Return how a text sounds.

        A word that the converter fails at is spelled. What it cannot say at all is left out and reported, as are
        letters that are not Latin, for which it makes sounds up.
        """
        draft = Draft(text, "en", glossary or Glossary())
        apply_rules(self._rules, draft, disabled)
        foreign = [index for index, character in enumerate(draft.text.text) if is_foreign(character)]
        phonemes = Phonemes(
            draft.text.without((index, index + 1) for index in foreign),
            draft.text.cut(0, 0),
            [draft.text.span(index, index + 1) for index in foreign],
        )
        self._convert(phonemes.respelled, phonemes)
        # An emoji leaves the spaces of both its sides.
        phonemes.spoken = phonemes.spoken.collapse()
        return phonemes

    def _convert(self, text: SpannedText, phonemes: Phonemes) -> None:
        if not text.text.strip():
            return
        try:
            self._add(text, phonemes)
        except Exception:  # noqa: BLE001 - the text must not be lost because a library asserts on odd input
            for pattern in (_WORD, _RUN):
                parts = [text.cut(*match.span()) for match in pattern.finditer(text.text)]
                if len(parts) > 1:
                    for part in parts:
                        self._convert(part, phonemes)
                    return
            self._spell(text.strip(), phonemes)

    def _spell(self, word: SpannedText, phonemes: Phonemes) -> None:
        spelled = SpannedText.join(" ", [word.cut(index, index + 1) for index in range(len(word.text))])
        try:
            self._add(spelled, phonemes)
        except Exception:  # noqa: BLE001 - likewise
            phonemes.unread.append(word.span(0, len(word.text)))

    def _add(self, text: SpannedText, phonemes: Phonemes) -> None:
        """Convert at once; changes `phonemes` only when all went well."""
        said = align(text, self._normalize(text.text), has_marks=False)
        converted, unread, done = [phonemes.spoken], list[Span](), 0
        for token in self._converter.phonemize_tokens(self._converter.tokenize(said.text)):
            start, done = _find(said.text, token.text, done)
            span = said.span(start, done)
            sound = token.phonemes or ""
            if not sound and any(map(_needs_sound, token.text)):
                unread.append(span)
            sound += " " if token.whitespace else ""
            converted.append(SpannedText(sound, [span[0]] * len(sound), [span[1]] * len(sound)))
        spoken = SpannedText.join("", converted)
        # Further words may follow; the space belongs to the word before it.
        space = SpannedText(" " if spoken.text else "", spoken.starts[-1:], spoken.ends[-1:])
        phonemes.spoken = SpannedText.join("", [spoken, space])
        phonemes.unread += unread


def is_foreign(character: str) -> bool:
    """Whether it is a letter of another script; the micro sign and ordinal indicators are read."""
    return character.isalpha() and character not in "µªº" and "LATIN" not in unicodedata.name(character, "")


def _needs_sound(character: str) -> bool:
    # A currency's sign is silent: its word comes with the number.
    return characters.would_be_spoken(character) and unicodedata.category(character) != "Sc"


def _find(text: str, word: str, done: int) -> Span:
    """Where a token stands; a token that the library spelled anew stands at the next place."""
    start = text.find(word, done)
    if start < 0:
        return done, done
    return start, start + len(word)


def _respelling(reader: MendedReader) -> tuple[Rule, ...]:
    """What hibari would misread."""

    def fold(draft: Draft) -> None:
        draft.text = characters.fold(draft.text)

    def read_address(match: re.Match[str]) -> str:
        return reader.english(SpannedText.of(match[0])).text

    return (
        Rule("look_alikes", fold),
        Rule("links", _unlink),  # it would take the link's target for phonemes
        Rule("glossary", apply_glossary),
        _rule("hashtags", _HASHTAG, "hashtag "),
        _rule("versions", _VERSION, r"\1 point \2 point \3"),
        _rule("leading_zeros", _LEADING_ZEROS, lambda match: "oh " * len(match[0])),
        _rule("web_addresses", _WEB_ADDRESS, read_address),
    )


def _unlink(draft: Draft) -> None:
    links = _LINK.finditer(draft.text.text)
    around = [((match.start(), match.start(1)), (match.end(1), match.end())) for match in links]
    draft.text = draft.text.without(span for spans in around for span in spans)


def _rule(name: str, pattern: re.Pattern[str], replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    def apply(draft: Draft) -> None:
        draft.text = draft.text.sub(pattern, replacement)

    return Rule(name, apply)


_ACCENTS: Mapping[str, bool] = {"hibari": False, "hibari-us": False, "hibari-gb": True}


def load_g2p(name: str | None, backend: Backend) -> EnglishG2p:
    """Return the converter that a checkpoint's `text.g2p` names.

    Raises:
        CheckpointError: if there is none of that name, or its library is not installed.
    """
    if name is None or name not in _ACCENTS:
        raise CheckpointError(f"triptych.text.g2p = {name!r}; known here: {', '.join(_ACCENTS)}")
    try:
        return EnglishG2p(backend, is_british=_ACCENTS[name])
    except ImportError as error:
        raise CheckpointError(f"triptych.text.g2p = {name!r} needs requirements/phonemes.txt: {error}") from error
