"""Where a stream is taken over: the codes that another worker made, which are fed again instead of chosen."""

from __future__ import annotations

from collections import deque

import numpy as np

from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.session import ResumePoint, Session
from services.gpt_worker.inputs import check_ids
from services.gpt_worker.model.dimensions import GptDimensions


def check_state(resume: ResumePoint, session: Session, dimensions: GptDimensions) -> None:
    """See that the state is the codes before the one that comes next, and leaves some to be made.

    Raises:
        InvalidRequestError: The stream cannot be taken over there, or the state does not fit.
    """
    codes = resume.state.get("codes", np.zeros(0, np.int32))
    if codes.dtype != np.int32 or codes.ndim != 1 or len(codes) != resume.next_index:
        raise tensor_error(
            f"to resume at code {resume.next_index} the state needs codes int32 [{resume.next_index}]",
            "open.resume.state[codes]",
        )
    limit = int(session.params["max_codes"])
    if set(resume.state) - {"codes"} or len(codes) >= limit:
        raise tensor_error(f"the state is codes, fewer than max_codes ({limit}), and nothing else", "open.resume.state")
    if len(codes) and session.params["compat"]:
        # No code of such a segment is out before all are, and the second pass needs every one of them.
        raise InvalidRequestError(
            "with compat a segment is resumed from its first code",
            field="open.resume.next_index",
            reason=Reason.FIELD_CONFLICT,
        )
    check_ids(codes, dimensions.start_code, "open.resume.state[codes]")


def codes_to_replay(session: Session, segment: int) -> deque[int]:
    """The codes of a segment that are to be fed again; none of one that begins here."""
    resume = session.resume
    if resume is None or resume.segment != segment:
        return deque()
    return deque(int(code) for code in resume.state.get("codes", ()))
