"""One session's segment in work: which window is next, what it reads, and the chunks in which its frames leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.arrays import Array
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, Session
from services.s2mel_worker.model.crossfade import crossfade
from services.s2mel_worker.model.render import Prompt
from services.s2mel_worker.model.trajectory import Trajectory
from services.s2mel_worker.model.windows import Window, next_window
from services.s2mel_worker.resume import frames_before, replay_start, window_start


@dataclass(frozen=True)
class Render:
    """A window that is being rendered."""

    window: Window
    trajectory: Trajectory


class SegmentWindows:
    """What the engine holds of one session.

    Args:
        session: Whose segments these are.
        prompt: What its renders see of its voice.
        bins: Of a mel frame.
        max_codes: The most that a segment may have.
    """

    def __init__(self, session: Session, prompt: Prompt, *, bins: int, max_codes: int) -> None:
        self.queue = SegmentQueue(session)
        self.prompt = prompt
        self.render: Render | None = None
        self.segment: int | None = None
        """The segment that all below is about."""
        self.prefix = np.zeros((0, bins), np.float32)
        """Mel frames (t, bins) that were rendered last, as far as the next window reads them."""
        self._session = session
        self._bins, self._max_codes = bins, max_codes
        self._resume = session.resume
        self._start = 0
        """First code of the next window."""
        self._look_ahead = self.prefix
        """Mel frames (t, bins) that the last window rendered behind its own, as far as the next one blends them."""
        self._known = self.prefix
        """Mel frames (t, bins) of the next window, where it is rendered again for its look-ahead alone."""

    @property
    def codes(self) -> SegmentInput:
        """What has come of the segment in work."""
        assert self.queue.current is not None
        return self.queue.current

    def enter(self) -> None:
        """Set the window's state when a segment begins, or is taken over."""
        segment = self.codes.segment
        if self.segment == segment:
            return
        self.segment, self._start = segment, 0
        self.prefix = self._look_ahead = self._known = np.zeros((0, self._bins), np.float32)
        resume, self._resume = self._resume, None
        if resume is not None and resume.segment == segment:
            start = window_start(resume, self._session, max_codes=self._max_codes)
            self._start = replay_start(start, self._session)
            mel = np.array(resume.state.get("mel", self.prefix))
            num_known = self._frames(start) - self._frames(self._start)
            self.prefix, self._known = mel[: len(mel) - num_known], mel[len(mel) - num_known :]

    def next_window(self) -> Window | None:
        """The window to render; None while it waits for codes, or where none is left."""
        codes, factor = self.codes, self._session.params["duration_factor"]
        if self._session.policy.is_whole or self._session.params["compat"]:
            is_there = codes.has_ended and codes.length
            return Window(0, codes.stop, 0, codes.stop, is_last=True, duration_factor=factor) if is_there else None
        return next_window(
            self._session.policy, self._start, codes.stop, is_ended=codes.has_ended, duration_factor=factor
        )

    def settle(self, window: Window, mel: Array, look_ahead: Array) -> Chunk | None:
        """Make a window's frames its chunk, and get ready for the next; no chunk of frames that are known."""
        codes, policy = self.codes, self._session.policy
        is_replay, first = len(self._known) > 0, window.first_frame
        mel = self._known if is_replay else crossfade(mel, self._look_ahead, policy.crossfade_frames)
        if window.is_last and not is_replay:
            return self._finish(first, mel)
        self._start, self._known = window.stop, mel[:0]
        self._look_ahead = look_ahead[: policy.crossfade_frames].copy()
        kept = max(0, window.stop - policy.prefix_codes)
        frames = np.concatenate([self.prefix, mel])
        self.prefix = frames[len(frames) - (self._frames(window.stop) - self._frames(kept)) :]
        self.queue.use(window.stop)
        codes.drop_before(kept)
        return None if is_replay else Chunk(codes.segment, first, {"mel": mel})

    def finish_without_frames(self) -> Chunk:
        """End the segment in work where its last window ended."""
        return self._finish(self._frames(self._start), None)

    def cancel(self, segment: int) -> Chunk | None:
        """Drop a segment and give the chunk that ends it, or None when it is not here."""
        if not self.queue.cancel(segment):
            return None
        start = 0
        if self.segment == segment:
            start = self._frames(self._start) + len(self._known)
            self.segment = self.render = None
        return self._end(segment, start, FinishReason.CANCELLED)

    def _finish(self, first: int, mel: Array | None) -> Chunk:
        codes = self.codes
        self.queue.finish_current()
        self.segment = None
        reason = codes.finish_reason or FinishReason.STOP
        if mel is None:
            return self._end(codes.segment, first, reason)
        return Chunk(codes.segment, first, {"mel": mel}, is_segment_end=True, finish_reason=reason)

    def _end(self, segment: int, start: int, reason: FinishReason) -> Chunk:
        nothing = {"mel": np.zeros((0, self._bins), np.float32)}
        return Chunk(segment, start, nothing, is_segment_end=True, finish_reason=reason)

    def _frames(self, code: int) -> int:
        return frames_before(code, self._session)
