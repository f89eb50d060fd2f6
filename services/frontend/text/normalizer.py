"""Written text to spoken words, by named rules in the published order."""

from __future__ import annotations

from dataclasses import dataclass

from services.frontend.text.backends import Backend
from services.frontend.text.characters import KnowsCharacter
from services.frontend.text.glossary import Glossary
from services.frontend.text.mending import MendedReader, PublishedReader
from services.frontend.text.rules import Draft, Language, apply_rules, mended_rules, published_rules, rule_names
from services.frontend.text.spans import Span, SpannedText


@dataclass(frozen=True)
class NormText:
    """What is spoken, and for each of its characters what it stands for in the written text."""

    spoken: SpannedText
    language: Language

    @property
    def text(self) -> str:
        return self.spoken.text

    @property
    def spans(self) -> tuple[Span, ...]:
        """One for each character of `text`; a number's characters all have the span of the number."""
        return tuple(zip(self.spoken.starts, self.spoken.ends, strict=True))


class TextNormalizer:
    """Normalises as published; outside parity its faults are mended and no text is lost.

    Args:
        backend: Reads numbers, dates and units.
        glossary: Terms with a reading of their own.
        mended: False is the parity switch: the published behaviour, faults included.
        is_known: Whether the model has a token for a character; its accent goes where it has none.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        glossary: Glossary | None = None,
        mended: bool = True,
        is_known: KnowsCharacter | None = None,
    ) -> None:
        self._glossary = glossary or Glossary()
        self._rules = (
            mended_rules(MendedReader(backend), is_known) if mended else published_rules(PublishedReader(backend))
        )

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules in the order in which they are applied."""
        return rule_names(self._rules)

    def normalize(
        self,
        text: str | SpannedText,
        language: Language = "zh",
        *,
        glossary: Glossary | None = None,
        disabled: frozenset[str] = frozenset(),
    ) -> NormText:
        """Return what is spoken.

        Args:
            text: Written text, of any length.
            language: How a text of digits and marks alone is read; parity reads it in Chinese.
            glossary: Instead of the normaliser's own.
            disabled: Names of rules to go without.
        """
        written = SpannedText.of(text) if isinstance(text, str) else text
        draft = Draft(written, language, glossary or self._glossary)
        apply_rules(self._rules, draft, disabled)
        return NormText(draft.text, draft.language)
