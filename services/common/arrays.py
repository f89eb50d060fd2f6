"""Names for numpy's types, where arrays meet."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

Tensors = dict[str, Array]
"""Arrays by name, as they travel between stages."""
