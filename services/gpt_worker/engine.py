"""The GPT stage's engine: text ids in, codes with their latents out, one code of every session a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from services.common.arrays import Array, Tensors
from services.common.stage.engine import Output
from services.common.stage.session import Chunk, ResumePoint, Session
from services.common.stage.spec import StageSpec
from services.gpt_worker.emotion_text.classifier import EmotionClassifier
from services.gpt_worker.footprint import slot_positions
from services.gpt_worker.inputs import check_text, sampling_options
from services.gpt_worker.model.decoding import RowOutput, new_decoder
from services.gpt_worker.model.loading import GptStageModel
from services.gpt_worker.prefill import Prefill
from services.gpt_worker.prefixes import Prefixes
from services.gpt_worker.published_segment import searched, with_second_pass
from services.gpt_worker.resume import check_state
from services.gpt_worker.session_state import SessionState
from services.gpt_worker.spec import EMOTION_TEXT
from services.gpt_worker.voice import encode_emotion_text, encode_voice


class GptEngine:
    """See `services.common.stage.engine.Engine`.

    Args:
        stage: What computes.
        spec: What the stage says of itself.
        classifier: There where the spec lists its step.
        prefix_cache_bytes: Memory for the conditioning of the voices that were used last.
        max_batch_size: Sessions that share a step at most; None for all slots.
    """

    def __init__(
        self,
        stage: GptStageModel,
        spec: StageSpec,
        classifier: EmotionClassifier | None = None,
        *,
        prefix_cache_bytes: int = 0,
        max_batch_size: int | None = None,
    ) -> None:
        self._stage = stage
        self._classifier = classifier
        self._model = stage.voice
        self._dimensions = stage.voice.dimensions
        self.spec = spec
        self._decoder = new_decoder(
            self._model,
            rows=spec.slots,
            max_length=slot_positions(self._dimensions),
            max_batch_size=max_batch_size,
        )
        self._prefixes = Prefixes(stage, max_bytes=prefix_cache_bytes)
        self._prefill = Prefill(self._model, self._decoder, self._prefixes, num_spoken=spec.gives.vocabulary)
        self._free_rows = list(range(spec.slots))
        self._states: dict[Session, SessionState] = {}
        self.batch_limit = self._decoder.batch_limit
        self.device = stage.device

    @property
    def bytes_per_slot(self) -> int:
        """Keys and values of one slot; all are allocated at the start."""
        return self._decoder.cache.row_bytes

    @torch.inference_mode()
    def open(self, session: Session) -> None:
        options = sampling_options(session.params)
        prefix = self._prefixes.of(session)
        # Last: what fails before has taken no row.
        self._states[session] = SessionState(session, self._free_rows.pop(), prefix, options)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """The text of a segment is always sent whole."""
        check_state(resume, session, self._dimensions)
        return 0

    def push(self, session: Session, chunk: Chunk) -> None:
        check_text(chunk, self._dimensions)
        self._states[session].queue.push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        return self._states[session].cancel(segment, self._dimensions.width)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        if state is None or state.queue.current is None:
            return False
        session.is_beginning = state.is_beginning
        return True

    def is_beginning(self, session: Session) -> bool:
        """Whether its next step takes in a piece of its prefix, or is a whole search: one session of a step at most."""
        return self._states[session].is_beginning

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
        """One code of every session; of those that are not so far, one takes in a piece of its prefix."""
        states = [self._states[session] for session in sessions]
        outputs: list[Output] = []
        for state, chunk in [(state, self._advance(state, output)) for state, output in self._compute(states)]:
            if chunk is not None:
                outputs.append((state.session, chunk))
                if chunk.is_segment_end:
                    state.finish()
        return outputs

    def close(self, session: Session) -> None:
        state = self._states.pop(session, None)
        if state is not None:
            self._free_rows.append(state.row)

    def free_memory(self) -> None:
        """Give up kept prefixes and captured steps; the rows of sessions in work stay."""
        self._prefixes.clear()
        self._decoder.free_memory()

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        if step == EMOTION_TEXT:
            assert self._classifier is not None
            return encode_emotion_text(self._classifier, tensors)
        return encode_voice(self._stage, step, tensors)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Decode a few codes for silence in a made-up voice."""
        rng = np.random.default_rng(0)
        voice = {spec.name: 0.1 * rng.standard_normal(spec.shape).astype(np.float32) for spec in self.spec.conditions}
        params = {param.name: param.default for param in self.spec.params}
        session = Session("warm-up", 0, self.spec.default_policy, params | {"max_codes": 4}, {}, voice)
        self.open(session)
        self.push(session, Chunk(0, 0, {"ids": np.array([2, 3], np.int32)}, is_segment_end=True))
        while self.is_ready(session):
            self.step([session])
        self.close(session)
        self._decoder.warm_up()

    def _compute(self, states: Sequence[SessionState]) -> list[tuple[SessionState, RowOutput | None]]:
        """What the model makes of this step; None for a beam search, which is a step of its own.

        Beside the rows that run, one session that begins: whatever else begins waits, so that the running ones never
        wait for more than one piece of a prefix, or for one search.
        """
        running = [state for state in states if not state.is_beginning]
        beginning = next((state for state in states if state.is_beginning), None)
        outputs: list[tuple[SessionState, RowOutput | None]] = []
        if running:
            outputs += zip(running, self._decoder.decode([state.running.next for state in running]), strict=True)
        if beginning is None:
            return outputs
        if beginning.is_search:
            return [*outputs, (beginning, None)]
        output = self._prefill.take_in(beginning)
        return outputs if output is None else [*outputs, (beginning, output)]

    def _advance(self, state: SessionState, output: RowOutput | None) -> Chunk | None:
        """Choose what follows, and give what may leave now."""
        if output is None:
            return searched(self._model, state, num_spoken=self.spec.gives.vocabulary)
        reason = state.running.advance(output)
        if state.is_published:
            return with_second_pass(self._model, state, state.running.codes, reason) if reason else None
        return state.running.take_group(reason, self._dimensions.width)
