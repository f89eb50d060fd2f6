"""Where a stream is taken over: from which code on, and what of its mel the state holds."""

from __future__ import annotations

import numpy as np

from services.common.errors import InvalidRequestError
from services.common.stage.checks import tensor_error
from services.common.stage.session import ResumePoint, Session
from services.common.stage.window_borders import window_borders
from services.s2mel_worker.model.windows import frames_of, window_before


def frames_before(code: int, session: Session) -> int:
    """Frames of a segment that the session's first `code` codes own."""
    return frames_of(code, session.params["duration_factor"])


def first_code(resume: ResumePoint, session: Session, *, bins: int, max_codes: int) -> int:
    """The code that the state's first frame belongs to: codes are sent from there on.

    That is where the next window's prefix begins; with a crossfade, where the prefix of the window before
    begins, which is rendered once more for its look-ahead.

    Raises:
        InvalidRequestError: The stream cannot be taken over there, or the state does not fit.
    """
    if set(resume.state) - {"mel"}:
        raise tensor_error("the state is mel and nothing else", "open.resume.state")
    start = window_start(resume, session, max_codes=max_codes)
    first = max(0, replay_start(start, session) - session.policy.prefix_codes)
    frames = frames_before(start, session) - frames_before(first, session)
    mel = resume.state.get("mel", np.zeros((0, bins), np.float32))
    if mel.dtype != np.float32 or mel.shape != (frames, bins):
        raise tensor_error(
            f"to resume at frame {resume.next_index} the state needs mel float32 [{frames}, {bins}]",
            "open.resume.state[mel]",
        )
    if not np.isfinite(mel).all():
        raise tensor_error("mel holds numbers that are not finite", "open.resume.state[mel]")
    return first


def window_start(resume: ResumePoint, session: Session, *, max_codes: int) -> int:
    """First code of the window whose frames come next.

    Raises:
        InvalidRequestError: No window begins with that frame.
    """
    start, last = 0, frames_before(max_codes, session)
    for start, _ in window_borders(session.policy, session.params["duration_factor"]):
        if frames_before(start, session) >= min(resume.next_index, last):
            break
    if frames_before(start, session) == resume.next_index:
        return start
    raise InvalidRequestError(
        f"frame {resume.next_index} is not the border of a window under this policy",
        field="open.resume.next_index",
        stage="s2mel",
    )


def replay_start(start: int, session: Session) -> int:
    """First code that a stream renders which is resumed at the window at `start`."""
    policy = session.policy
    if not (start and policy.crossfade_frames and policy.look_ahead_codes):
        return start
    return window_before(policy, start, session.params["duration_factor"]).start
