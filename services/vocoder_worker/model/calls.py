"""One call of the graph with its input and output bound to the device's memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from services.common.devices import ComputeDevice

CAPACITY = 32
"""Shapes whose buffers are kept; a policy has few window lengths, and only a segment's last one is of any length."""


@dataclass(frozen=True, slots=True)
class _Bound:
    binding: Any
    mel: ort.OrtValue
    wave: ort.OrtValue


class BoundCalls:
    """Runs a session without an allocation per call: mel goes to the device once, the waveform comes back once.

    Not thread-safe: the buffers of a shape are used by one call after another.
    """

    def __init__(self, session: Any, device: ComputeDevice, *, hop_length: int) -> None:
        self._session = session
        self._device = device
        self._hop_length = hop_length
        self._bound: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()

    def __call__(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns (B, bins, T) to waveforms (B, 1, hop_length * T)."""
        bound = self._of_shape(columns.shape)
        bound.mel.update_inplace(columns)
        self._session.run_with_iobinding(bound.binding)
        wave: NDArray[np.float32] = bound.wave.numpy()
        # On a CPU it may be the buffer itself, which the next call overwrites.
        return wave.copy() if self._device.kind == "cpu" else wave

    def _of_shape(self, shape: tuple[int, ...]) -> _Bound:
        bound = self._bound.pop(shape, None) or self._bind(shape)
        self._bound[shape] = bound
        while len(self._bound) > CAPACITY:
            self._bound.popitem(last=False)
        return bound

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        batch, _, frames = shape
        mel = self._empty(shape)
        wave = self._empty((batch, 1, frames * self._hop_length))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("mel", mel)
        binding.bind_ortvalue_output("wave", wave)
        return _Bound(binding, mel, wave)

    def _empty(self, shape: tuple[int, ...]) -> ort.OrtValue:
        value: ort.OrtValue = ort.OrtValue.ortvalue_from_shape_and_type(
            list(shape), np.float32, self._device.kind, self._device.index
        )
        return value
