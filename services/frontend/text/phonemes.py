"""English text to misaki-style phonemes, for checkpoints trained on those (`text.frontend: phonemes`).

hibari's own number reader comes first, because it wrote the training labels; only what it misreads
(addresses of the web) goes through the English normaliser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from services.common.checkpoint import CheckpointError
from services.frontend.text import characters
from services.frontend.text.backends import Backend
from services.frontend.text.mending import MendedBackend

_WEB_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s,;!?]*[^\s,;!?.)\]\"'”’]|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b[A-Za-z][\w-]*\.(?:com|org|net|edu|gov|io|dev|ai|co\.uk)\b(?:/[^\s,;!?]*[^\s,;!?.)\]\"'”’])?"
)
_HASHTAG = re.compile(r"(?<!\w)#(?=[A-Za-z])")
_LEADING_ZEROS = re.compile(r"(?<![\w.,:/-])0+(?=\d)(?![\d]*[.,:/-]\d)")
_VERSION = re.compile(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)(?!\.?\d)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class EnglishG2p:
    """hibari-tts's grapheme-to-phoneme converter: no espeak, no torch; loads in half a second.

    Unknown words go through a small ONNX network, so the process needs onnxruntime.
    """

    def __init__(self, backend: Backend, *, is_british: bool = False) -> None:
        from hibari.g2p import G2P  # noqa: PLC0415 - only checkpoints with a phoneme front end need it

        self._normalizer = MendedBackend(backend)
        self._convert: Callable[[str], str] = G2P(british=is_british)
        self._convert("zyzzxq")  # loads the network of unknown words now, not in the first request

    def __call__(self, text: str) -> str:
        """Return the phonemes of `text`: words by spaces, punctuation kept."""
        # An emoji leaves the spaces of both its sides.
        return " ".join(self._convert(self.respell(text)).split())

    def respell(self, text: str) -> str:
        """Write out what hibari would misread."""
        text = _LINK.sub(r"\1", characters.fold(text))  # hibari would take the link's target for phonemes
        text = _HASHTAG.sub("hashtag ", text)
        text = _VERSION.sub(r"\1 point \2 point \3", text)
        text = _LEADING_ZEROS.sub(lambda match: "oh " * len(match[0]), text)
        return _WEB_ADDRESS.sub(lambda match: self._normalizer.english(match[0]), text)


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
