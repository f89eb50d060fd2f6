"""What is wrong with a checkpoint, in one class."""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint cannot be used; the text says which file or key, and what is expected."""
