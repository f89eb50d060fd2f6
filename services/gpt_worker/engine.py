"""The GPT stage's engine: text ids in, codes with their latents out, one code of every session a step.

Rows are computed one by one, so that a row's numbers never depend on its mates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode
from services.common.errors import InvalidRequestError, TtsError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.spec import StageSpec
from services.gpt_worker.emotion_text.classifier import EmotionClassifier, load_classifier
from services.gpt_worker.model import emotion
from services.gpt_worker.model.beam_search import beam_search
from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.loading import GptStageModel, VoiceConditions, load_gpt_stage
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.unified_voice import Positions, StepOutput, code_position
from services.gpt_worker.settings import GptWorkerSettings
from services.gpt_worker.spec import EMOTION_TEXT, max_codes, max_text_ids, stage_spec
from services.gpt_worker.voice import encode_emotion_text, encode_voice

REPLAYED_PER_STEP = 32
"""Codes that a resumed row decodes again in one step, so that its mates do not wait long."""


@dataclass(slots=True)
class _Decode:
    """One segment in its row of the cache."""

    segment: int
    row: int
    chooser: CodeChooser
    replay: list[int]
    """Codes that another worker already made and that are still to be fed."""
    positions: Positions
    next_start: int
    """Index of the next code that goes out."""
    last_code: int | None = None
    """None before the prefix is in the cache."""
    count: int = 0
    """Codes chosen or replayed."""
    held: list[int] = field(default_factory=list)
    """With the published positions: codes that wait for the second pass."""


class _State:
    """What the engine holds of one session."""

    def __init__(self, session: Session, row: int, options: SamplingOptions, conds: torch.Tensor) -> None:
        self.row = row
        self.options = options
        self.conds = conds  # (1, C, D)
        self.queue = SegmentQueue(session)
        self.decode: _Decode | None = None
        self.resume = session.resume


class GptEngine:
    """See `services.common.stage.engine.Engine`; the classifier is there where the spec lists its step."""

    def __init__(self, stage: GptStageModel, spec: StageSpec, classifier: EmotionClassifier | None = None) -> None:
        self._stage = stage
        self._classifier = classifier
        self._model = stage.voice
        self.spec = spec
        dimensions = self._model.dimensions
        conditioning_rows = dimensions.speaker.perceiver.latents + 2
        prefix = conditioning_rows + dimensions.text_positions + 1
        self._cache: KeyValueCache = self._model.gpt.new_cache(spec.slots, prefix + max_codes(dimensions))
        self._free_rows = list(range(spec.slots))
        self._states: dict[Session, _State] = {}

    def open(self, session: Session) -> None:
        options = self._sampling_options(session.params)
        conds = self._conditioning(session)
        # Last: what fails before has taken no row.
        self._states[session] = _State(session, self._free_rows.pop(), options, conds)

    def first_start(self, resume: ResumePoint, session: Session) -> int:
        """The text of a segment is always sent whole."""
        codes = resume.state.get("codes", np.zeros(0, np.int32))
        if codes.dtype != np.int32 or codes.ndim != 1 or len(codes) != resume.next_index:
            raise tensor_error(
                f"to resume at code {resume.next_index} the state needs codes int32 [{resume.next_index}]",
                "open.resume.state[codes]",
            )
        limit = int(session.params["max_codes"])
        if set(resume.state) - {"codes"} or len(codes) >= limit:
            raise tensor_error(
                f"the state is codes, fewer than max_codes ({limit}), and nothing else", "open.resume.state"
            )
        if len(codes) and session.params["compat"]:
            # No code of such a segment is out before all are, and the second pass needs every one of them.
            raise InvalidRequestError(
                "with compat a segment is resumed from its first code",
                field="open.resume.next_index",
                reason=Reason.FIELD_CONFLICT,
            )
        self._check_ids(codes, self._model.dimensions.start_code, "open.resume.state[codes]")
        return 0

    def push(self, session: Session, chunk: Chunk) -> None:
        ids = chunk.tensors["ids"]
        limit = max_text_ids(self._model.dimensions)
        if not chunk.is_segment_end or not 1 <= len(ids) <= limit:
            raise tensor_error(
                f"a segment is one chunk of 1 to {limit} ids; this one has {len(ids)}", "chunk.tensors[ids]"
            )
        self._check_ids(ids, self._model.dimensions.text_tokens, "chunk.tensors[ids]")
        self._states[session].queue.push(chunk)

    def cancel_segment(self, session: Session, segment: int) -> Chunk | None:
        state = self._states[session]
        if not state.queue.cancel(segment):
            return None
        start = 0
        if state.decode is not None and state.decode.segment == segment:
            start, state.decode = state.decode.next_start, None
        return self._end(segment, start, FinishReason.CANCELLED)

    def is_ready(self, session: Session) -> bool:
        state = self._states.get(session)
        return state is not None and state.queue.current is not None

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
        outputs: list[Output] = []
        for session in sessions:
            state = self._states[session]
            text = state.queue.current
            assert text is not None
            try:
                if state.options.num_beams > 1:
                    chunk: Chunk | None = self._search(session, state, text)
                else:
                    chunk = self._next(session, state, text)
            except TtsError as error:
                outputs.append((session, error))
                continue
            if chunk is not None:
                outputs.append((session, chunk))
                if chunk.is_segment_end:
                    state.queue.finish_current()
                    state.decode = None
        return outputs

    def close(self, session: Session) -> None:
        state = self._states.pop(session, None)
        if state is not None:
            self._free_rows.append(state.row)

    def encode_voice(self, step: str, tensors: Mapping[str, Array]) -> Tensors:
        if step == EMOTION_TEXT:
            assert self._classifier is not None
            return encode_emotion_text(self._classifier, tensors)
        return encode_voice(self._stage, step, tensors)

    def warm_up(self) -> None:
        """Decode a few codes for silence in a made-up voice."""
        rng = np.random.default_rng(0)
        voice = {spec.name: 0.1 * rng.standard_normal(spec.shape).astype(np.float32) for spec in self.spec.conditions}
        params = {param.name: param.default for param in self.spec.params}
        session = Session("warm-up", 0, self.spec.default_policy, params, {}, voice)
        self.open(session)
        self.push(session, Chunk(0, 0, {"ids": np.array([2, 3], np.int32)}, is_segment_end=True))
        for _ in range(4):
            if self.is_ready(session):
                self.step([session])
        self.close(session)

    def _next(self, session: Session, state: _State, text: SegmentInput) -> Chunk | None:
        """One code of a segment; None while codes are replayed, or held back for the second pass."""
        if state.decode is None:
            state.decode = self._begin(session, state, text.segment)
            output = self._model.prefill(self._prefix(state, text), self._cache, state.row)
        else:
            output = self._feed(state.decode)
        replayed = 0
        while state.decode.replay:
            # The very steps that made these codes: their keys and values come out bit for bit the same.
            self._accept(state.decode, state.decode.replay.pop(0), is_replayed=True)
            replayed += 1
            if replayed == REPLAYED_PER_STEP:
                return None
            output = self._feed(state.decode)
        return self._choose(state, state.decode, text, output)

    def _begin(self, session: Session, state: _State, segment: int) -> _Decode:
        replay: list[int] = []
        if state.resume is not None and state.resume.segment == segment:
            replay = [int(code) for code in state.resume.state.get("codes", ())]
        dimensions = self._model.dimensions
        chooser = CodeChooser(
            state.options,
            vocabulary=dimensions.codes,
            start_code=dimensions.start_code,
            seed=session.seed,
            segment=segment,
        )
        positions: Positions = "compat" if session.params["compat"] else "fast"
        return _Decode(segment, state.row, chooser, replay, positions, next_start=len(replay))

    def _prefix(self, state: _State, text: SegmentInput) -> torch.Tensor:
        ids = [int(i) for i in text.items("ids", 0, text.stop)]
        return self._model.embed_prefix(state.conds, self._model.frame_text(ids))

    def _conditioning(self, session: Session) -> torch.Tensor:
        """Rows before the text (1, C, D) for the session's voice and emotion."""
        voice = VoiceConditions(**{name: self._tensor(array) for name, array in session.voice.items()})
        vector, other = session.options.get("emotion_vector"), session.options.get("emotion_emovec")
        weights = None if vector is None else [float(weight) for weight in vector]
        if weights is not None and session.params["emotion_normalized"]:
            weights = emotion.normalize_emotion_vector(weights)
        emovec = self._stage.emotion_vector(
            voice,
            recording=None if other is None else self._tensor(other),
            weights=weights,
            alpha=session.params["emotion_weight"],
        )
        return self._stage.conditioning(voice, emovec)

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self._stage.device)

    def _feed(self, decode: _Decode) -> StepOutput:
        assert decode.last_code is not None
        position = code_position(decode.count, decode.positions)
        return self._model.decode_step(decode.last_code, position, self._cache, decode.row)

    def _accept(self, decode: _Decode, code: int, *, is_replayed: bool) -> None:
        if is_replayed:
            decode.chooser.replay([code])
        decode.last_code = code
        decode.count += 1

    def _choose(self, state: _State, decode: _Decode, text: SegmentInput, output: StepOutput) -> Chunk | None:
        code = decode.chooser.choose(self._speakable(output.logits))
        is_stop = code == self._model.dimensions.stop_code
        start = decode.next_start
        if not is_stop:
            self._accept(decode, code, is_replayed=False)
            decode.next_start += 1
        is_cut = decode.count >= state.options.max_codes
        reason = FinishReason.STOP if is_stop else FinishReason.MAX_CODES if is_cut else FinishReason.NONE
        if decode.positions == "compat":
            decode.held += [] if is_stop else [code]
            return self._with_second_pass(state, text, decode.held, reason) if reason else None
        if is_stop:
            return self._end(decode.segment, start, reason)
        latents = output.latent[None].float().cpu().numpy()
        codes = np.array([code], np.int32)
        return Chunk(decode.segment, start, {"codes": codes, "latents": latents}, bool(reason), reason)

    def _speakable(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave codes and stop: the start token has a score too, but no sound."""
        stop = self._model.dimensions.stop_code
        speakable = logits.clone()
        speakable[self.spec.gives.vocabulary :] = float("-inf")
        speakable[stop] = logits[stop]
        return speakable

    def _search(self, session: Session, state: _State, text: SegmentInput) -> Chunk:
        """A beam search over the whole segment, in one step."""
        prefix = self._prefix(state, text)
        codes = beam_search(self._model, prefix, state.options, seed=session.seed, segment=text.segment)
        stop = self._model.dimensions.stop_code
        reason = FinishReason.STOP if stop in codes else FinishReason.MAX_CODES
        codes = codes[: codes.index(stop)] if stop in codes else codes
        codes = [code for code in codes if code < self.spec.gives.vocabulary]
        return self._with_second_pass(state, text, codes, reason)

    def _with_second_pass(self, state: _State, text: SegmentInput, codes: list[int], reason: FinishReason) -> Chunk:
        """All codes of a segment with the latents of the published second pass."""
        if not codes:
            return self._end(text.segment, 0, reason)
        ids = [int(i) for i in text.items("ids", 0, text.stop)]
        latents = self._model.second_pass(state.conds, ids, codes).float().cpu().numpy()
        tensors = {"codes": np.array(codes, np.int32), "latents": latents}
        return Chunk(text.segment, 0, tensors, is_segment_end=True, finish_reason=reason)

    def _end(self, segment: int, start: int, reason: FinishReason) -> Chunk:
        width = self._model.dimensions.width
        nothing = {"codes": np.zeros(0, np.int32), "latents": np.zeros((0, width), np.float32)}
        return Chunk(segment, start, nothing, is_segment_end=True, finish_reason=reason)

    def _sampling_options(self, params: Mapping[str, float]) -> SamplingOptions:
        if params["num_beams"] > 1 and not params["compat"]:
            raise InvalidRequestError(
                "num_beams above 1 needs the compat policy",
                field="open.params[num_beams]",
                reason=Reason.FIELD_CONFLICT,
            )
        return SamplingOptions(
            temperature=params["temperature"],
            top_k=int(params["top_k"]),
            top_p=params["top_p"],
            repetition_penalty=params["repetition_penalty"],
            do_sample=not params["greedy"],
            num_beams=int(params["num_beams"]),
            length_penalty=params["length_penalty"],
            max_codes=int(params["max_codes"]),
        )

    def _check_ids(self, ids: Array, limit: int, field: str) -> None:
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= limit):
            raise tensor_error(f"ids must be 0 to {limit - 1}", field)


def load_engine(settings: GptWorkerSettings) -> GptEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: A file or tensor is missing, unknown or of another shape, or the device is not to be had.
    """
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    device, mode = torch_runtime.prepare(settings), numeric_mode(settings.dtype)
    stage = load_gpt_stage(files, config, device)
    classifier = load_classifier(files.qwen, device)
    spec = stage_spec(
        config,
        stage.voice.dimensions,
        revision=revision(settings.model_dir, mode, config.triptych.policy.model_dump()),
        slots=settings.slots,
        device=torch_runtime.describe_device(device, mode),
        has_emotion_text=classifier is not None,
    )
    return GptEngine(stage, spec, classifier)
