"""Blends the beginning of a window with what the window before had rendered of the same frames.

A frame's noise is the same in both, so the two agree but for what each could see. No more frames are blended than the
earlier window's look-ahead and the new window have: a policy may ask for more, and gets all there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mel = NDArray[np.float32]


def crossfade(new: Mel, before: Mel, num_frames: int) -> Mel:
    """Fade linearly from `before` (n, M) to `new` (m, M) over the first frames of both, at most `num_frames`.

    Returns:
        (m, M); `new` itself where nothing is blended.
    """
    count = min(num_frames, len(new), len(before))
    if not count:
        return new
    weight = np.arange(1, count + 1, dtype=np.float32)[:, None] / np.float32(count + 1)
    blended = new.copy()
    blended[:count] = before[:count] + weight * (new[:count] - before[:count])
    return blended
