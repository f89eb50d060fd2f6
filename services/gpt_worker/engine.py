"""The GPT stage's engine: text ids in, codes with their latents out, one code of every session a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import structlog
import torch

from services.common import torch_runtime
from services.common.arrays import Array, Tensors
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode, stage_dtype
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.engine import Output
from services.common.stage.segments import SegmentInput, SegmentQueue
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session
from services.common.stage.slots import MEBIBYTE
from services.common.stage.spec import StageSpec
from services.gpt_worker.emotion_text.classifier import EmotionClassifier, load_classifier
from services.gpt_worker.footprint import demand, slot_positions
from services.gpt_worker.model.beam_search import beam_search
from services.gpt_worker.model.decoding import RowOutput, new_decoder
from services.gpt_worker.model.loading import GptStageModel, load_gpt_stage
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.prefixes import Prefix, Prefixes
from services.gpt_worker.segment import SegmentDecode
from services.gpt_worker.settings import GptWorkerSettings
from services.gpt_worker.spec import EMOTION_TEXT, max_text_ids, stage_spec
from services.gpt_worker.voice import encode_emotion_text, encode_voice

logger = structlog.get_logger(__name__)


class _State:
    """What the engine holds of one session."""

    def __init__(self, session: Session, row: int, options: SamplingOptions, prefix: Prefix) -> None:
        self.row = row
        self.options = options
        self.prefix = prefix
        self.queue = SegmentQueue(session)
        self.decode: SegmentDecode | None = None
        self.resume = session.resume

    @property
    def text(self) -> SegmentInput:
        assert self.queue.current is not None
        return self.queue.current

    @property
    def running(self) -> SegmentDecode:
        assert self.decode is not None
        return self.decode


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
        self.spec = spec
        dimensions = self._model.dimensions
        self._decoder = new_decoder(
            self._model,
            rows=spec.slots,
            max_length=slot_positions(dimensions),
            max_batch_size=max_batch_size,
        )
        self._cache = self._decoder.cache
        self._prefixes = Prefixes(stage, max_bytes=prefix_cache_bytes)
        # The start token has a score too, but no sound.
        ids = range(spec.gives.vocabulary, dimensions.codes)
        self._silent = [code for code in ids if code != dimensions.stop_code]
        self._free_rows = list(range(spec.slots))
        self._states: dict[Session, _State] = {}
        self.batch_limit = self._decoder.batch_limit
        self.device = stage.device

    @property
    def bytes_per_slot(self) -> int:
        """Keys and values of one slot; all are allocated at the start."""
        return self._cache.row_bytes

    @torch.inference_mode()
    def open(self, session: Session) -> None:
        options = self._sampling_options(session.params)
        prefix = self._prefixes.of(session)
        # Last: what fails before has taken no row.
        self._states[session] = _State(session, self._free_rows.pop(), options, prefix)

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
        if state is None or state.queue.current is None:
            return False
        session.is_beginning = self.is_beginning(session)
        return True

    def is_beginning(self, session: Session) -> bool:
        """Whether its next step takes in a piece of its prefix, or is a whole search: one session of a step at most."""
        state = self._states[session]
        return state.options.num_beams > 1 or state.decode is None or bool(state.decode.prefix)

    @torch.inference_mode()
    def step(self, sessions: Sequence[Session]) -> list[Output]:
        """One code of every session; of those that are not so far, one takes in a piece of its prefix."""
        # Weights and layers carry the numeric mode themselves.
        with torch.autocast(self._stage.device.type, enabled=False):
            made = [(session, self._advance(session, output)) for session, output in self._compute(sessions)]
        outputs: list[Output] = []
        for session, chunk in made:
            if chunk is not None:
                outputs.append((session, chunk))
                if chunk.is_segment_end:
                    state = self._states[session]
                    state.queue.finish_current()
                    state.decode = None
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

    def _compute(self, sessions: Sequence[Session]) -> list[tuple[Session, RowOutput | None]]:
        """What the model makes of this step; None for a beam search, which is a step of its own.

        Beside the rows that run, one session that begins: whatever else begins waits, so that the running ones never
        wait for more than one piece of a prefix, or for one search.
        """
        running = [session for session in sessions if not self.is_beginning(session)]
        outputs: list[tuple[Session, RowOutput | None]] = []
        if running:
            decodes = [self._states[session].running for session in running]
            rows = self._decoder.decode([decode.next for decode in decodes])
            outputs += zip(running, rows, strict=True)
        beginning = next((session for session in sessions if self.is_beginning(session)), None)
        if beginning is None:
            return outputs
        if self._states[beginning].options.num_beams > 1:
            return [*outputs, (beginning, None)]
        output = self._take_in(beginning)
        return outputs if output is None else [*outputs, (beginning, output)]

    def _take_in(self, session: Session) -> RowOutput | None:
        """One piece of the session's prefix; the last one leaves the scores of the first code.

        The first piece is the conditioning rows, unless they were kept: copying them is no work.
        """
        state = self._states[session]
        if state.decode is None:
            state.decode = self._begin(session, state)
            if self._prefixes.start_row(state.prefix, session, self._cache, state.row):
                return None
        output = self._model.extend(state.decode.prefix.popleft(), self._cache, state.row)
        return None if state.decode.prefix else RowOutput.of(output)

    def _begin(self, session: Session, state: _State) -> SegmentDecode:
        segment, dimensions = state.text.segment, self._model.dimensions
        replay: deque[int] = deque()
        if state.resume is not None and state.resume.segment == segment:
            replay.extend(int(code) for code in state.resume.state.get("codes", ()))
        chooser = CodeChooser(
            state.options,
            vocabulary=dimensions.codes,
            start_code=dimensions.start_code,
            seed=session.seed,
            segment=segment,
            silent=self._silent,
        )
        behind_rows = self._embedded(state)[0, state.prefix.rows.shape[1] :]
        return SegmentDecode(
            segment,
            state.row,
            codes_per_chunk=max(1, session.policy.codes_per_chunk),
            positions="compat" if session.params["compat"] else "fast",
            chooser=chooser,
            prefix=deque(torch.split(behind_rows, self._decoder.prefill_positions)),
            replay=replay,
            next_start=len(replay),
        )

    def _embedded(self, state: _State) -> torch.Tensor:
        """The whole prefix (1, P, D)."""
        return self._model.embed_prefix(state.prefix.rows, self._model.frame_text(_ids(state.text)))

    def _advance(self, session: Session, output: RowOutput | None) -> Chunk | None:
        """Choose what follows, and give what may leave now."""
        state = self._states[session]
        if output is None:
            return self._search(session, state)
        decode = state.running
        if decode.replay:
            # The very steps that made these codes: their keys and values come out bit for bit the same.
            decode.feed_replay()
            return None
        code = decode.chooser.choose(output.logits)
        is_stop = code == self._model.dimensions.stop_code
        if not is_stop:
            decode.add(code, output.latent)
        is_cut = decode.count >= state.options.max_codes
        reason = FinishReason.STOP if is_stop else FinishReason.MAX_CODES if is_cut else FinishReason.NONE
        if decode.positions == "compat":
            return self._with_second_pass(state, decode.codes, reason) if reason else None
        if not decode.codes:
            return self._end(decode.segment, decode.next_start, reason)
        return decode.take_group(reason) if reason or decode.is_group_complete else None

    def _search(self, session: Session, state: _State) -> Chunk:
        """A beam search over the whole segment, in one step."""
        prefix, segment = self._embedded(state), state.text.segment
        codes = beam_search(self._model, prefix, state.options, seed=session.seed, segment=segment)
        stop = self._model.dimensions.stop_code
        reason = FinishReason.STOP if stop in codes else FinishReason.MAX_CODES
        codes = codes[: codes.index(stop)] if stop in codes else codes
        codes = [code for code in codes if code < self.spec.gives.vocabulary]
        return self._with_second_pass(state, codes, reason)

    def _with_second_pass(self, state: _State, codes: list[int], reason: FinishReason) -> Chunk:
        """All codes of a segment with the latents of the published second pass."""
        segment = state.text.segment
        if not codes:
            return self._end(segment, 0, reason)
        latents = self._model.second_pass(state.prefix.rows, _ids(state.text), codes).float().cpu().numpy()
        tensors = {"codes": np.array(codes, np.int32), "latents": latents}
        return Chunk(segment, 0, tensors, is_segment_end=True, finish_reason=reason)

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


def _ids(text: SegmentInput) -> list[int]:
    return [int(i) for i in text.items("ids", 0, text.stop)]


def load_engine(settings: GptWorkerSettings) -> GptEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: A file or tensor is missing, unknown or of another shape, or the device is not to be had, or
            has not the memory.
    """
    device = torch_runtime.prepare(settings)
    with torch_runtime.enough_memory("gpt", device, "load", settings.memory_savers):
        return _load_engine(settings, device)


def _load_engine(settings: GptWorkerSettings, device: torch.device) -> GptEngine:
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    mode, cache_bytes = numeric_mode(settings.dtype), settings.prefix_cache_mb * MEBIBYTE
    stage = load_gpt_stage(files, config, device, settings.voice_encoders)
    dtype = stage_dtype(mode, "gpt")
    stage.voice.gpt.convert(dtype)
    classifier = load_classifier(files.qwen, device)
    taken = demand(stage, max_batch_size=settings.max_batch_size, prefix_cache_bytes=cache_bytes)
    spec = stage_spec(
        config,
        stage.voice.dimensions,
        revision=revision(settings.model_dir, mode, config.triptych.policy_table()),
        slots=torch_runtime.fitting_slots(settings, device, stage="gpt", demand=taken),
        device=torch_runtime.describe_device(device, dtype),
        has_emotion_text=classifier is not None,
    )
    engine = GptEngine(stage, spec, classifier, prefix_cache_bytes=cache_bytes, max_batch_size=settings.max_batch_size)
    logger.info("key_value_memory", slots=spec.slots, bytes_per_slot=engine.bytes_per_slot, dtype=dtype)
    return engine
