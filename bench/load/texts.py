"""What the measured calls say."""

from __future__ import annotations

SENTENCES = (
    "Please leave your coat by the door and come in.",
    "The first light of the morning came over the hills, and the whole valley began to sing.",
    "She opened the window, looked at the garden for a while, and closed it again without saying a word.",
    "Nobody had expected that the small boat would come back before the storm was over.",
    "We can meet at the station at nine, unless the train is late again.",
    "He read the letter twice, folded it carefully, and put it back into the drawer where it had been.",
    "The answer is in the second book, on the page with the torn corner.",
    "When the music stopped, everyone turned around to see who was standing at the top of the stairs.",
)
"""Of ordinary lengths: two to six seconds of speech."""


def passage(characters: int) -> str:
    """Return whole words of the sentences, said over and over, in about so many characters and never more."""
    joined = " ".join(SENTENCES)
    repeated = " ".join([joined] * (characters // len(joined) + 1))
    if characters >= len(repeated):
        return repeated
    cut = repeated[: characters - 1]
    words = cut if repeated[len(cut)] == " " else cut.rpartition(" ")[0]
    return words.rstrip(" ,.") + "."
