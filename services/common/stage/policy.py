"""The numbers that shape streaming, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """When a window is rendered and what it sees; borders follow from this and the segment's codes alone."""

    name: str = "balanced"
    is_whole: bool = False
    """Render every segment in one window, as published."""
    codes_per_chunk: int = 5
    """Codes that leave the GPT together."""
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
    crossfade_frames: int = 0
    """Frames at a window's start that are blended with the look-ahead of the window before."""
    vocoder_context_frames: int = 24
    """Frames before the new ones that the vocoder sees."""
    vocoder_look_ahead_frames: int = 24
    """Frames behind the new ones that the vocoder waits for."""
    params: Mapping[str, float] = field(default_factory=dict)
    """Parameters that have these values where a request sets none; a session's policy has none."""


POLICY_RANGES = {
    "codes_per_chunk": (1, 256),
    "first_window_codes": (1, 4096),
    "window_growth": (1, 8),
    "max_window_codes": (1, 4096),
    "look_ahead_codes": (0, 1024),
    "prefix_codes": (0, 1024),
    "prompt_seconds": (0.1, 15),
    "crossfade_frames": (0, 256),
    "vocoder_context_frames": (0, 256),
    "vocoder_look_ahead_frames": (0, 256),
}
"""What each number may be, in a checkpoint's table and in a request to a stage."""
