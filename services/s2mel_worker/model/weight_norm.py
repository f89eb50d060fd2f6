"""Weight norm as the published checkpoints store it: `weight_g` and `weight_v` (§1.3).

Serving fuses the pair when it loads (`services.common.weights.fuse_weight_norm`); only training keeps it.
"""

from __future__ import annotations

import re
import warnings

from torch import nn
from torch.nn.utils import weight_norm


def add_weight_norm(module: nn.Module, pattern: str) -> None:
    """Give the layers whose whole name matches `pattern` official weight-norm parameters, in place."""
    for name, layer in list(module.named_modules()):
        if re.fullmatch(pattern, name):
            with warnings.catch_warnings():
                # The parametrised successor has other key names than the published files.
                warnings.simplefilter("ignore", FutureWarning)
                weight_norm(layer)
