"""How a segment begins: its prefix goes into its session's row of the cache, a piece a step."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from services.gpt_worker.model.decoding import Decoder, RowOutput
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.unified_voice import UnifiedVoice
from services.gpt_worker.prefixes import Prefixes
from services.gpt_worker.resume import codes_to_replay
from services.gpt_worker.segment import SegmentDecode
from services.gpt_worker.session_state import SessionState


class Prefill:
    """Begins segments.

    Args:
        model: What computes.
        decoder: Whose cache the rows are of; it goes on from there.
        prefixes: What voices put before a text.
        num_spoken: Ids below this are codes that have a sound.
    """

    def __init__(self, model: UnifiedVoice, decoder: Decoder, prefixes: Prefixes, *, num_spoken: int) -> None:
        self._model = model
        self._cache = decoder.cache
        self._piece_positions = decoder.prefill_positions
        self._prefixes = prefixes
        # The start token has a score too, but no sound.
        dimensions = model.dimensions
        self._silent = [code for code in range(num_spoken, dimensions.codes) if code != dimensions.stop_code]

    def take_in(self, state: SessionState) -> RowOutput | None:
        """One piece of the prefix; the last one leaves the scores of the first code.

        The first piece is the conditioning rows, unless they were kept: copying them is no work.
        """
        if state.decode is None:
            state.decode = self._begin(state)
            if self._prefixes.start_row(state.prefix, state.session, self._cache, state.row):
                return None
        output = self._model.extend(state.decode.prefix.popleft(), self._cache, state.row)
        return None if state.decode.prefix else RowOutput.of(output)

    def _begin(self, state: SessionState) -> SegmentDecode:
        replay = codes_to_replay(state.session, state.segment)
        behind_rows = whole_prefix(self._model, state)[0, state.prefix.rows.shape[1] :]
        return SegmentDecode(
            state.segment,
            state.row,
            codes_per_chunk=max(1, state.session.policy.codes_per_chunk),
            max_codes=state.options.max_codes,
            stop_code=self._model.dimensions.stop_code,
            positions="compat" if state.is_published else "fast",
            chooser=self._chooser(state),
            prefix=deque(torch.split(behind_rows, self._piece_positions)),
            replay=replay,
            next_start=len(replay),
        )

    def _chooser(self, state: SessionState) -> CodeChooser:
        return CodeChooser(
            state.options,
            vocabulary=self._model.dimensions.codes,
            start_code=self._model.dimensions.start_code,
            seed=state.session.seed,
            segment=state.segment,
            silent=self._silent,
        )


def whole_prefix(model: UnifiedVoice, state: SessionState) -> Tensor:
    """All that precedes the first code of the segment in work: (1, P, D)."""
    return model.embed_prefix(state.prefix.rows, model.frame_text(state.ids))
