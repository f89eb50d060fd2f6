"""One code of each of several rows: row by row on a CPU, all at once on a GPU.

Letters: V code vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from services.common.arrays import Array
from services.common.cuda_graphs import Capture, GraphCapture
from services.gpt_worker.model.kv_cache import KeyValueCache, bucketed
from services.gpt_worker.model.unified_voice import StepOutput, UnifiedVoice

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
"""Numbers of rows that a step is computed for; one with fewer is filled up."""

LENGTH_BUCKET = 256
"""Positions that a step reads are a multiple of this: few graphs, against few positions behind the mask."""


def rows_bucket(rows: int) -> int:
    """Rows of the step that is computed for so many; the largest one where they are more."""
    return next((size for size in BATCH_BUCKETS if size >= rows), BATCH_BUCKETS[-1])


Step = Callable[[Tensor], Tensor]
"""Takes what `UnifiedVoice.decode_rows` takes, on the host; gives what that gives, until the next call."""


@dataclass(frozen=True, slots=True)
class NextCode:
    """A code that is to be appended to a row."""

    row: int
    code: int
    position: int
    """Its position row, from `code_position`."""


@dataclass(frozen=True, slots=True)
class RowOutput:
    """What a step leaves of one row, on the host."""

    logits: Array  # (V,) float32
    latent: Array  # (D,) float32

    @classmethod
    def of(cls, output: StepOutput) -> RowOutput:
        return cls(output.logits.cpu().numpy(), output.latent.cpu().numpy())


class Decoder(Protocol):
    batch_limit: int
    """The most rows that one step should have."""
    prefill_positions: int
    """The most positions of a prefix that one step should take: what running rows wait for at most."""
    cache: KeyValueCache

    def decode(self, codes: Sequence[NextCode]) -> list[RowOutput]:
        """Append one code to each of as many rows."""

    def warm_up(self) -> None:
        """Prepare what would make the first steps slow."""

    def free_memory(self) -> None:
        """Give up what was prepared; it is made again when it is needed."""


class RowDecoder:
    """Row by row: a row's kernels and shapes never depend on its mates. For CPUs.

    Reading the weights once for several rows would be cheaper for all of them, but rounds otherwise than a row
    alone, and every row would wait for the others.
    """

    batch_limit = 1
    prefill_positions = 32

    def __init__(self, model: UnifiedVoice, *, rows: int, max_length: int) -> None:
        self.cache = model.gpt.new_cache(rows, max_length)
        self._model = model

    def decode(self, codes: Sequence[NextCode]) -> list[RowOutput]:
        return [
            RowOutput.of(self._model.decode_step(next_.code, next_.position, self.cache, next_.row)) for next_ in codes
        ]

    def warm_up(self) -> None:
        """Nothing: there is no graph to capture."""

    def free_memory(self) -> None:
        """Nothing: there is none."""


class BatchDecoder:
    """All rows in one pass of fixed shape, captured as a CUDA graph for each number of rows and of positions.

    Rows that fill a batch up go to a row of the cache that belongs to no segment.

    Args:
        model: The network.
        rows: Segments that can be in work at once.
        max_length: Positions of the longest of them.
        max_batch_size: Rows that share a step at most, and are prepared for; None for all.
        capture: What steps are repeated with.
    """

    prefill_positions = 128

    def __init__(
        self,
        model: UnifiedVoice,
        *,
        rows: int,
        max_length: int,
        max_batch_size: int | None = None,
        capture: Capture | None = None,
    ) -> None:
        self.batch_limit = rows_bucket(min(rows, max_batch_size or rows))
        self.cache = model.gpt.new_cache(rows + 1, bucketed(max_length, LENGTH_BUCKET))
        self._model = model
        self._device = self.cache.store.device
        self._spare_row = rows
        self._steps: dict[tuple[int, int], Step] = {}
        self._capture = capture or GraphCapture(self._device)

    def decode(self, codes: Sequence[NextCode]) -> list[RowOutput]:
        size = next(size for size in BATCH_BUCKETS if size >= len(codes))
        lengths = [self.cache.lengths[next_.row] for next_ in codes]
        step = self._step(size, bucketed(max(lengths) + 1, LENGTH_BUCKET))
        outputs = step(self._inputs(codes, lengths, size))
        # The one copy to the host; it also waits for the step.
        host = outputs[: len(codes)].cpu().numpy()
        for next_ in codes:
            self.cache.lengths[next_.row] += 1
        vocabulary = self._model.dimensions.codes
        return [RowOutput(row[:vocabulary], row[vocabulary:]) for row in host]

    def warm_up(self) -> None:
        """Capture every number of rows for the shortest length; longer ones follow as they are met."""
        for size in BATCH_BUCKETS:
            if size <= self.batch_limit:
                self._step(size, LENGTH_BUCKET)

    def free_memory(self) -> None:
        self._steps.clear()
        self._capture.forget()

    def _inputs(self, codes: Sequence[NextCode], lengths: Sequence[int], size: int) -> Tensor:
        """The (4, size) numbers that `UnifiedVoice.decode_rows` takes, on the host."""
        filling = [(0, 0, self._spare_row, 0)] * (size - len(codes))
        asked = [(next_.code, next_.position, next_.row, past) for next_, past in zip(codes, lengths, strict=True)]
        inputs = torch.tensor([*asked, *filling]).T.contiguous()
        return inputs.pin_memory() if self._device.type == "cuda" else inputs

    def _step(self, size: int, readable: int) -> Step:
        step = self._steps.get((size, readable))
        if step is None:
            step = self._steps[size, readable] = self._made_step(size, readable)
        return step

    def _made_step(self, size: int, readable: int) -> Step:
        # Every row at the row that belongs to no segment: capturing runs the step.
        held = self._inputs([], [], size).to(self._device)
        repeat = self._capture(lambda: self._model.decode_rows(held, self.cache, readable))

        def step(inputs: Tensor) -> Tensor:
            held.copy_(inputs, non_blocking=True)
            return repeat()

        return step


def new_decoder(model: UnifiedVoice, *, rows: int, max_length: int, max_batch_size: int | None = None) -> Decoder:
    """The decoder for the device that the model is on."""
    if model.mel_head.weight.device.type == "cpu":
        return RowDecoder(model, rows=rows, max_length=max_length)
    return BatchDecoder(model, rows=rows, max_length=max_length, max_batch_size=max_batch_size)
