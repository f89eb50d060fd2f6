"""The libraries that read numbers, dates and units aloud: WeTextProcessing where installed, else wetext."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Protocol

from wetext import Normalizer as Wetext


class Backend(Protocol):
    """Reads numbers aloud. May raise anything: `TextNormalizer` decides what is done then."""

    name: str

    def chinese(self, text: str) -> str: ...

    def english(self, text: str) -> str: ...


class WetextBackend:
    """wetext: ready FSTs from a small wheel."""

    name = "wetext"

    def __init__(self) -> None:
        self._chinese = Wetext(remove_erhua=False, lang="zh", operator="tn")
        self._english = Wetext(lang="en", operator="tn")

    def chinese(self, text: str) -> str:
        return str(self._chinese.normalize(text))

    def english(self, text: str) -> str:
        return str(self._english.normalize(text))


class WeTextProcessingBackend:
    """WeTextProcessing (package `tn`): what the goldens of a pack were made with; builds FSTs once."""

    name = "WeTextProcessing"

    def __init__(self, cache_dir: Path | None = None) -> None:
        from tn.chinese.normalizer import Normalizer as Chinese  # noqa: PLC0415 - installed for parity only
        from tn.english.normalizer import Normalizer as English  # noqa: PLC0415 - likewise

        cache = cache_dir or Path(tempfile.gettempdir()) / "triptych-wetextprocessing"
        cache.mkdir(parents=True, exist_ok=True)
        # Without a cache_dir it loads the FST of its wheel, which ignores both remove_ arguments.
        self._chinese = Chinese(
            cache_dir=str(cache), remove_interjections=False, remove_erhua=False, overwrite_cache=False
        )
        self._english = English(overwrite_cache=False)

    def chinese(self, text: str) -> str:
        return str(self._chinese.normalize(text))

    def english(self, text: str) -> str:
        return str(self._english.normalize(text))


def is_wetextprocessing_installed() -> bool:
    return importlib.util.find_spec("tn") is not None


def find_backend() -> Backend:
    """Return the backend of the goldens where it is installed, else wetext."""
    return WeTextProcessingBackend() if is_wetextprocessing_installed() else WetextBackend()
