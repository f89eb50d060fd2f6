"""The steps from written text to spoken words, each by its name (§3.1 a to j)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from services.frontend.text import characters, protect
from services.frontend.text.glossary import Glossary
from services.frontend.text.spans import SpannedText

Language = Literal["zh", "en"]
"""Which way a text is normalised; not what it is written in."""

_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[a-zA-Z]")
_EMAIL = re.compile(r"^[a-zA-Z0-9]+@[a-zA-Z0-9]+\.[a-zA-Z]+$")
_WORDS_IS = r"what|where|who|which|how|t?here|it|s?he|that|this"
_CONTRACTION = re.compile(rf"({_WORDS_IS})'s", re.IGNORECASE)
_MENDED_CONTRACTION = re.compile(rf"\b({_WORDS_IS})['’]s\b", re.IGNORECASE)


class Reader(Protocol):
    """Reads numbers, dates and units aloud."""

    def chinese(self, text: SpannedText) -> SpannedText: ...

    def english(self, text: SpannedText) -> SpannedText: ...


@dataclass
class Draft:
    """One text on its way from written to spoken."""

    text: SpannedText
    language: Language
    """Of a text of digits and marks alone, until it is chosen."""
    glossary: Glossary = field(default_factory=Glossary)
    hidden: dict[str, protect.Placeholders] = field(default_factory=dict)
    """What no rule may touch just now, by the rule that hid it."""

    def hide(self, rule: str, pattern: re.Pattern[str], template: str) -> None:
        self.hidden[rule] = protect.Placeholders(template)
        self.text = self.hidden[rule].hide(pattern, self.text)

    def restore(self, rule: str, reading: Callable[[str], str] = str) -> None:
        if rule in self.hidden:
            self.text = self.hidden[rule].restore(self.text, reading)


def _nothing(draft: Draft) -> None:
    """A rule need not act both times."""


@dataclass(frozen=True)
class Rule:
    """One step. Rules act in order; then those with something to do afterwards act in the opposite order.

    So what a rule hides from all rules after it comes back when they are done.
    """

    name: str
    """Empty for a step that a request cannot switch off."""
    before: Callable[[Draft], None] = _nothing
    after: Callable[[Draft], None] = _nothing


def apply_rules(rules: Iterable[Rule], draft: Draft, disabled: frozenset[str]) -> None:
    active = [rule for rule in rules if rule.name not in disabled]
    for rule in active:
        rule.before(draft)
    for rule in reversed(active):
        rule.after(draft)


def rule_names(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The names in the order in which the rules change a text."""
    first = [rule.name for rule in rules if rule.name and rule.before is not _nothing]
    last = [rule.name for rule in reversed(rules) if rule.name and rule.before is _nothing]
    return (*first, *last)


def mended_rules(reader: Reader, is_known: characters.KnowsCharacter | None = None) -> tuple[Rule, ...]:
    """The rules of every request.

    Args:
        reader: Reads numbers; loses no text.
        is_known: Whether the model has a token for a character; without it, accents stay.
    """

    def read(draft: Draft) -> None:
        said = _read(reader, draft)
        if all(placeholders.all_in(said.text) for placeholders in draft.hidden.values()):
            draft.text = said

    return (
        Rule("look_alikes", _fold),
        ANNOTATIONS,
        Rule("", _choose_mended),
        Rule("accents", after=_plain_letters(is_known)) if is_known else Rule(""),
        PUNCTUATION,
        Rule("glossary", apply_glossary),
        Rule("contractions", _expand(_MENDED_CONTRACTION)),
        *SHIELDS,
        Rule("numbers", read),
    )


def published_rules(reader: Reader) -> tuple[Rule, ...]:
    """The rules as published, in the published order."""

    def read(draft: Draft) -> None:
        draft.text = _read(reader, draft)

    return (
        ANNOTATIONS,
        Rule("", _choose),
        PUNCTUATION,
        Rule("contractions", _expand(_CONTRACTION)),
        Rule("glossary", _apply_published_glossary),
        *SHIELDS,
        Rule("numbers", read),
    )


def choose_language(text: str) -> Language:
    """Return "en" for a text in Latin letters without Chinese characters or pinyin, else "zh"."""
    is_chinese = _HAN.search(text) or not _LATIN.search(text) or _EMAIL.match(text) or protect.PINYIN.search(text)
    return "zh" if is_chinese else "en"


def apply_glossary(draft: Draft) -> None:
    draft.text = draft.glossary.apply(draft.text, draft.language)


def _apply_published_glossary(draft: Draft) -> None:
    draft.text = draft.glossary.apply_published(draft.text, draft.language)


def _fold(draft: Draft) -> None:
    draft.text = characters.fold(draft.text)


def _plain_letters(is_known: characters.KnowsCharacter) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        draft.text = characters.without_accents(draft.text, is_known)

    return apply


def _choose(draft: Draft) -> None:
    draft.language = choose_language(draft.text.text)
    if draft.language == "zh":
        draft.text = draft.text.rstrip()


def _choose_mended(draft: Draft) -> None:
    if _HAN.search(draft.text.text) or _LATIN.search(draft.text.text):
        _choose(draft)


def _expand(contraction: re.Pattern[str]) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        matches = contraction.finditer(draft.text.text)
        draft.text = draft.text.edit([(match.end(1), match.end(), " is") for match in matches])

    return apply


def _hide_annotations(draft: Draft) -> None:
    draft.hide("annotations", protect.ANNOTATION, "PRONPLACEHOLDER{}PRONPLACEHOLDER")


def _hide_hyphens(draft: Draft) -> None:
    draft.text = protect.hide_hyphens(draft.text)


def _restore_hyphens(draft: Draft) -> None:
    draft.text = protect.restore_hyphens(draft.text)


def _hide_pinyin(draft: Draft) -> None:
    if draft.language == "zh":
        draft.hide("pinyin", protect.PINYIN, "<pinyin_{}>")


def _hide_names(draft: Draft) -> None:
    if draft.language == "zh":
        draft.hide("names", protect.NAME, "<n_{}>")


def _map_punctuation(draft: Draft) -> None:
    draft.text = characters.map_punctuation(draft.text, draft.language)


def _read(reader: Reader, draft: Draft) -> SpannedText:
    return reader.chinese(draft.text) if draft.language == "zh" else reader.english(draft.text)


ANNOTATIONS = Rule("annotations", _hide_annotations, lambda draft: draft.restore("annotations"))
PUNCTUATION = Rule("punctuation", after=_map_punctuation)
SHIELDS = (
    Rule("hyphens", _hide_hyphens, _restore_hyphens),
    Rule("pinyin", _hide_pinyin, lambda draft: draft.restore("pinyin", protect.correct_pinyin)),
    Rule("names", _hide_names, lambda draft: draft.restore("names")),
)
