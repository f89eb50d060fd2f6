"""A stage worker without a model: codes, frames and samples by arithmetic, over the real stage protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common import tensors
from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError, OverloadedError, StageFailedError, TtsError, WrongModelError
from services.frontend.wakeup import Wakeup

MODEL = "fake"
REVISION = "r1"
CODES_PER_TOKEN = 4
FRAMES_PER_CODE = 2
SAMPLES_PER_FRAME = 8
SAMPLE_RATE = 1600
LATENT_WIDTH = 4
BINS = 3

Context = grpc.aio.ServicerContext[Any, Any]
Spec = stage_pb2.TensorSpec


def _edge(kind: str, rate: int, *specs: Spec, **numbers: int) -> stage_pb2.Edge:
    return stage_pb2.Edge(
        kind=stage_pb2.EdgeKind.Value(f"EDGE_KIND_{kind}"),
        rate_numerator=rate,
        rate_denominator=1,
        tensors=specs,
        **numbers,
    )


TEXT = _edge("TEXT", 0, Spec(name="ids", dtype="int32", shape=[-1]))
TOKENS = _edge(
    "TOKENS",
    SAMPLE_RATE // SAMPLES_PER_FRAME // FRAMES_PER_CODE,
    Spec(name="codes", dtype="int32", shape=[-1]),
    Spec(name="latents", dtype="float32", shape=[-1, LATENT_WIDTH]),
    codebooks=1,
    vocabulary=8192,
    latent_width=LATENT_WIDTH,
)
MEL = _edge(
    "MEL",
    SAMPLE_RATE // SAMPLES_PER_FRAME,
    Spec(name="mel", dtype="float32", shape=[-1, BINS]),
    mel_bins=BINS,
    sample_rate_hz=SAMPLE_RATE,
)
# Another family: two codebooks, no latents, another rate, and floats for samples.
BOOKS = 2
TALKER_RATE = 2400
SAMPLES_PER_CODE = 12
SPEAKERS = ("ada", "bob")
BOOK_TOKENS = _edge(
    "TOKENS",
    TALKER_RATE // SAMPLES_PER_CODE,
    Spec(name="codes", dtype="int32", shape=[-1, BOOKS]),
    codebooks=BOOKS,
    vocabulary=8193,
)
FLOAT_PCM = _edge("PCM", TALKER_RATE, Spec(name="pcm", dtype="float32", shape=[-1]), sample_rate_hz=TALKER_RATE)
PCM = _edge("PCM", SAMPLE_RATE, Spec(name="pcm", dtype="int16", shape=[-1]), sample_rate_hz=SAMPLE_RATE)


def _params(**ranges: tuple[float, float, float]) -> list[stage_pb2.ParamSpec]:
    return [
        stage_pb2.ParamSpec(name=name, minimum=low, maximum=high, default_value=default)
        for name, (low, high, default) in ranges.items()
    ]


def describe(stage: str, *, slots: int = 2, revision: str = REVISION, model: str = MODEL) -> stage_pb2.DescribeResponse:
    """What a fake stage says of itself: one of three, one of two, or under any other name a whole model."""
    about = stage_pb2.DescribeResponse(
        stage=stage,
        model=stage_pb2.ModelIdentity(name=model, revision=revision),
        slots=slots,
        worker=f"fake-{stage}",
        device=stage_pb2.Device(name="none", kind="cpu", provider="arithmetic", dtype="float32"),
        policies=[stage_pb2.Policy(name="balanced", first_window_codes=2)],
    )
    if stage == "gpt":
        about.takes.CopyFrom(TEXT)
        about.gives.CopyFrom(TOKENS)
        about.text.max_tokens_per_segment = 40
        about.languages.append("en")
        about.params.extend(
            _params(
                temperature=(0.1, 2, 0.8),
                top_p=(0, 1, 0.8),
                top_k=(0, 8194, 30),
                repetition_penalty=(0.1, 20, 10),
                max_codes=(1, 100, 100),
                greedy=(0, 1, 0),
                emotion_weight=(0, 1, 1),
                length_penalty=(-2, 2, 0),
                num_beams=(1, 10, 1),
            )
        )
        about.params[-1].is_integer = True
        about.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE)
        about.conditions.append(Spec(name="latents", dtype="float32", shape=[4]))
        about.conditions.append(Spec(name="self_emovec", dtype="float32", shape=[4]))
        about.options.append(Spec(name="emotion_vector", dtype="float64", shape=[8], is_optional=True))
        about.options.append(Spec(name="emotion_emovec", dtype="float32", shape=[4], is_optional=True))
        about.voice_steps.add(name="semantic", takes=["audio_16000"], gives=["w2v"], max_audio_seconds=15)
        about.voice_steps.add(name="latents", takes=["w2v", "style"], gives=["latents", "self_emovec"])
    elif stage == "s2mel":
        about.takes.CopyFrom(TOKENS)
        about.takes.look_ahead = 2
        about.gives.CopyFrom(MEL)
        about.params.extend(_params(steps=(1, 100, 25), cfg_rate=(0, 3, 0.7), duration_factor=(0.5, 2, 1)))
        about.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE)
        about.conditions.append(Spec(name="style", dtype="float32", shape=[4]))
        about.voice_steps.add(name="style", takes=["audio_22050", "w2v"], gives=["style"], max_audio_seconds=15)
    elif stage == "vocoder":
        about.takes.CopyFrom(MEL)
        about.gives.CopyFrom(PCM)
    elif stage == "talker":
        about.takes.CopyFrom(TEXT)
        about.gives.CopyFrom(BOOK_TOKENS)
        about.text.max_tokens_per_segment = 40
        about.voice_modes.append(stage_pb2.VOICE_MODE_NAMED)
        about.speakers.extend(SPEAKERS)
        about.takes_instruction = True
    elif stage == "codec":
        about.takes.CopyFrom(BOOK_TOKENS)
        about.gives.CopyFrom(FLOAT_PCM)
    else:
        about.takes.CopyFrom(TEXT)
        about.gives.CopyFrom(PCM)
        about.text.max_tokens_per_segment = 40
    return about


def add_emotion_text(about: stage_pb2.DescribeResponse) -> None:
    """Let a stage read an emotion out of a text."""
    about.option_steps.add(name="emotion_text", takes=["emotion_text"], gives=["emotion_vector"])


@dataclass
class Behaviour:
    """What a test can do to a fake stage."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed (cleared): the stage makes nothing."""
    door: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed (cleared): an Open is not answered."""
    refusals: int = 0
    """So many Opens are refused although there are slots."""
    refusal: TtsError | None = None
    """What every Open is answered with."""
    fail_at: int = -1
    """Index of the output chunk that cannot be made; -1 for none."""
    is_draining: bool = False
    window: int = 4
    """Chunks that the gateway may send ahead."""

    def __post_init__(self) -> None:
        self.gate.set()
        self.door.set()


class FakeStage(stage_pb2_grpc.StageServicer):
    """One stage. `events` is shared between stages, so that tests see the order of things."""

    def __init__(self, about: stage_pb2.DescribeResponse, events: list[tuple[str, str, int]]) -> None:
        self.about = about
        self.behaviour = Behaviour()
        self.events = events
        self.opens: list[stage_pb2.Open] = []
        self.num_open = 0
        self.metadata: list[dict[str, str | bytes]] = []
        self.encoded: list[str] = []
        self.changed = Wakeup()
        self.voices: dict[str, Tensors] = {}

    @property
    def stage(self) -> str:
        return self.about.stage

    async def until(self, is_true: Callable[[], bool]) -> None:
        await self.changed.until(is_true)

    async def Describe(self, request: stage_pb2.DescribeRequest, context: Context) -> stage_pb2.DescribeResponse:
        return self.about

    async def Heartbeat(
        self, request: stage_pb2.HeartbeatRequest, context: Context
    ) -> AsyncIterator[stage_pb2.HeartbeatResponse]:
        while True:
            yield stage_pb2.HeartbeatResponse(
                free_slots=self.about.slots - self.num_open,
                slots=self.about.slots,
                is_draining=self.behaviour.is_draining,
                memory_used_bytes=1 << 20,
                memory_total_bytes=1 << 30,
            )
            await asyncio.sleep(0.02)

    async def EncodeVoice(
        self, request: stage_pb2.EncodeVoiceRequest, context: Context
    ) -> stage_pb2.EncodeVoiceResponse:
        given = tensors.from_proto(request.tensors)
        steps = [*self.about.voice_steps, *self.about.option_steps]
        step = next(step for step in steps if step.name == request.step)
        assert sorted(given) == sorted(step.takes)
        self.encoded.append(request.step)
        if step.name == "emotion_text":
            made: Tensors = {"emotion_vector": np.full(8, len(given["emotion_text"]) / 1000)}
            return stage_pb2.EncodeVoiceResponse(tensors=tensors.to_proto(made))
        seen = sum(float(np.abs(array).sum()) for array in given.values())
        made = {name: np.full(4, seen + len(name), np.float32) for name in step.gives}
        return stage_pb2.EncodeVoiceResponse(tensors=tensors.to_proto(made))

    async def Run(
        self, request_iterator: AsyncIterator[stage_pb2.RunRequest], context: Context
    ) -> AsyncIterator[stage_pb2.RunResponse]:
        requests = aiter(request_iterator)
        opening = (await anext(requests)).open
        self._check(opening)
        await self.behaviour.door.wait()
        if self.about.conditions and opening.voice_hash not in self.voices:
            yield stage_pb2.RunResponse(need_voice=stage_pb2.NeedVoice(voice_hash=opening.voice_hash))
            voice = tensors.from_proto((await anext(requests)).voice.tensors)
            assert tensors.digest(voice) == opening.voice_hash
            self.voices[opening.voice_hash] = voice
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self._count(+1)
        try:
            yield stage_pb2.RunResponse(opened=stage_pb2.Opened(worker=self.about.worker))
            yield stage_pb2.RunResponse(credit=stage_pb2.Credit(chunks=self.behaviour.window))
            run = _FakeRun(self, opening)
            async for answer in run.answers(requests):
                yield answer
        finally:
            self._count(-1)

    def _check(self, opening: stage_pb2.Open) -> None:
        self.opens.append(opening)
        self.changed.notify()
        if opening.model.revision != self.about.model.revision:
            raise WrongModelError("another revision is asked for")
        if self.behaviour.refusal is not None:
            raise self.behaviour.refusal
        if self.behaviour.refusals > 0 or self.num_open >= self.about.slots:
            self.behaviour.refusals = max(self.behaviour.refusals - 1, 0)
            raise OverloadedError("all slots are taken", stage=self.stage)

    def _count(self, change: int) -> None:
        self.num_open += change
        self.changed.notify()


class _FakeRun:
    def __init__(self, stage: FakeStage, opening: stage_pb2.Open) -> None:
        self._stage = stage
        self._seed = opening.seed
        self._max_codes = int(opening.params.get("max_codes", 100))
        self._inputs: asyncio.Queue[stage_pb2.Chunk | TtsError | None] = asyncio.Queue()
        self._credit = asyncio.Semaphore(0)
        self._cancelled: set[int] = set()
        self._cancel = asyncio.Event()
        self._next: dict[int, int] = {}
        self._first_segment = opening.resume.segment if opening.HasField("resume") else None
        self._ended: set[int] = set()
        self._num_sent = 0
        self._num_consumed = 0

    async def answers(self, requests: AsyncIterator[stage_pb2.RunRequest]) -> AsyncIterator[stage_pb2.RunResponse]:
        reader = asyncio.create_task(self._read(requests))
        try:
            while (item := await self._inputs.get()) is not None:
                if isinstance(item, TtsError):
                    raise item
                async for chunk in self._work(item):
                    yield stage_pb2.RunResponse(chunk=chunk)
                yield stage_pb2.RunResponse(credit=stage_pb2.Credit(chunks=1))
            stats = stage_pb2.RunStats(steps=self._num_sent, compute_ms=1.5 * self._num_sent)
            yield stage_pb2.RunResponse(done=stage_pb2.Done(stats=stats))
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[stage_pb2.RunRequest]) -> None:
        granted, received = self._stage.behaviour.window, 0
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "chunk":
                received += 1
                if self._first_segment not in {None, request.chunk.segment}:
                    self._inputs.put_nowait(InvalidRequestError("another segment comes than the one resumed"))
                self._first_segment = None
                if request.chunk.segment in self._cancelled:
                    self._inputs.put_nowait(InvalidRequestError("a chunk of a cancelled segment came"))
                if received > granted + self._num_consumed:
                    self._inputs.put_nowait(InvalidRequestError("a chunk came without credit"))
                self._inputs.put_nowait(request.chunk)
            elif kind == "credit":
                for _ in range(request.credit.chunks):
                    self._credit.release()
            elif kind == "cancel_segment":
                self._cancelled.add(request.cancel_segment.segment)
                self._cancel.set()
            elif kind == "end":
                self._inputs.put_nowait(None)

    async def _work(self, given: stage_pb2.Chunk) -> AsyncIterator[stage_pb2.Chunk]:
        pieces = list(self._pieces(given))
        for index, (made, length) in enumerate(pieces):
            await self._wait_turn(given.segment)
            if given.segment in self._cancelled:
                break
            if self._stage.behaviour.fail_at == self._num_sent:
                raise StageFailedError("the stage broke", stage=self._stage.stage)
            start = self._next.get(given.segment, 0)
            self._next[given.segment] = start + length
            is_end = given.is_segment_end and index == len(pieces) - 1
            self._num_sent += 1
            self._stage.events.append((self._stage.stage, "end" if is_end else "chunk", given.segment))
            self._stage.changed.notify()
            yield stage_pb2.Chunk(
                segment=given.segment,
                start=start,
                tensors=tensors.to_proto(made),
                is_segment_end=is_end,
                finish_reason=self._reason(given) if is_end else stage_pb2.FINISH_REASON_UNSPECIFIED,
            )
        if given.segment in self._cancelled and given.segment not in self._ended:
            self._ended.add(given.segment)
            yield stage_pb2.Chunk(
                segment=given.segment, is_segment_end=True, finish_reason=stage_pb2.FINISH_REASON_CANCELLED
            )
        self._num_consumed += 1

    async def _wait_turn(self, segment: int) -> None:
        """Wait for the gate and for credit; a cancel of the segment ends both waits."""
        while segment not in self._cancelled:
            self._cancel.clear()
            waits = [
                asyncio.create_task(self._gate_and_credit()),
                asyncio.create_task(self._cancel.wait()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if waits[0].done():
                    return
            finally:
                for wait in waits:
                    wait.cancel()

    async def _gate_and_credit(self) -> None:
        await self._stage.behaviour.gate.wait()
        await self._credit.acquire()

    def _reason(self, given: stage_pb2.Chunk) -> stage_pb2.FinishReason.ValueType:
        if self._stage.about.gives.kind == stage_pb2.EDGE_KIND_TOKENS and self._next[given.segment] >= self._max_codes:
            return stage_pb2.FINISH_REASON_MAX_CODES
        return given.finish_reason or stage_pb2.FINISH_REASON_STOP

    def _pieces(self, given: stage_pb2.Chunk) -> Iterator[tuple[Tensors, int]]:
        arrays = tensors.from_proto(given.tensors)
        if "ids" in arrays and self._stage.about.gives.kind == stage_pb2.EDGE_KIND_PCM:
            samples = np.frombuffer(expected_pcm(arrays["ids"].tolist(), self._seed), np.int16)
            for part in np.array_split(samples, 3):
                yield {"pcm": part}, len(part)
        elif "ids" in arrays and self._stage.about.gives == BOOK_TOKENS:
            for code in _codes(arrays["ids"], self._seed)[: self._max_codes]:
                yield {"codes": np.asarray([[code, code + 1]], np.int32)}, 1
        elif "ids" in arrays:
            codes = _codes(arrays["ids"], self._seed)[: self._max_codes]
            for start in range(0, len(codes), 2):
                part = codes[start : start + 2]
                yield {"codes": part, "latents": np.ones((len(part), LATENT_WIDTH), np.float32)}, len(part)
        elif "codes" in arrays and self._stage.about.gives == FLOAT_PCM:
            floats = np.repeat(arrays["codes"][:, 0], SAMPLES_PER_CODE).astype(np.float32) / 32767
            yield {"pcm": floats}, len(floats)
        elif "codes" in arrays:
            frames = np.repeat(arrays["codes"], FRAMES_PER_CODE).astype(np.float32)
            yield {"mel": np.repeat(frames[:, None], BINS, axis=1)}, len(frames)
        else:
            samples = np.repeat(arrays["mel"][:, 0], SAMPLES_PER_FRAME).astype(np.int16)
            yield {"pcm": samples}, len(samples)


def _codes(ids: Array, seed: int) -> Array:
    tokens = np.repeat(ids.astype(np.int64), CODES_PER_TOKEN)
    return ((tokens * 31 + np.arange(len(tokens)) + seed % 1009) % 8191 + 1).astype(np.int32)


def expected_codes(ids: list[int], seed: int) -> list[int]:
    """The codes that the first fake stage makes of a segment."""
    return [int(code) for code in _codes(np.asarray(ids, np.int32), seed)]


def expected_pcm(ids: list[int], seed: int, *, samples_per_code: int = FRAMES_PER_CODE * SAMPLES_PER_FRAME) -> bytes:
    """The samples that the three fake stages make of a segment."""
    return np.repeat(expected_codes(ids, seed), samples_per_code).astype(np.int16).tobytes()
