"""Length regulator: features per code to conditions per mel frame (§7.2). Official key names.

Which code a frame reads is decided by index maps, built outside: `whole_map` is the published one,
`streaming_map` gives a frame the same code in every window. Letters: B batch, N codes, T frames, C channels.
"""

from __future__ import annotations

from itertools import batched
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.common.checkpoint import LengthRegulatorConfig
from services.s2mel_worker.model.lengths import frame_mask

UNUSED = ("embedding.weight", "mask_token")
"""Tensors of the published file that serving does not need."""
