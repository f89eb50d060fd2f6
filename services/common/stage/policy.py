"""The numbers that shape streaming, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """When a window is rendered and what it sees; borders follow from this and the segment's codes alone."""

    name: str = "streaming"
    is_whole: bool = False
    """Render every segment in one window, as published."""
    first_window_codes: int = 25
    window_growth: float = 2.0
    """Each window is this much longer than the one before, up to `max_window_codes`."""
    max_window_codes: int = 200
    look_ahead_codes: int = 25
    """Codes after a window that must be there before it is rendered, unless the segment has ended."""
    prefix_codes: int = 25
    """Codes before a window whose rendered frames go into it as context."""
    prompt_seconds: float = 15.0
    """How much of the voice's recording a window sees."""
    vocoder_context_frames: int = 24
