"""From a public config to a request that the pipeline can run: everything checked, named and resolved."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common import tensors
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.audio import AudioFormat, audio_format
from services.frontend.request import validation
from services.frontend.request.emotion_choice import EmotionChoice, choose_emotion
from services.frontend.request.parameters import params
from services.frontend.request.speech_request import SpeechRequest, StageInputs
from services.frontend.request.voice_choice import VoiceChoice, choose_voice
from services.frontend.text import MIN_SEGMENT_TOKENS, TextFrontend, TextOptions
from services.frontend.voices.features import for_stage
from services.frontend.voices.registry import Voices
from services.frontend.workers.topology import Pipeline, Pool, Topology


@dataclass(frozen=True)
class RequestRules:
    """What the operator decides about requests."""

    max_inline_voice_bytes: int = 10_000_000
    priority_interactive: int = 10
    priority_batch: int = 0
    default_policy: str = ""
    """Of requests that name none; empty for the model's first."""


@dataclass(frozen=True)
class CheckedConfig:
    """A config with nothing in it that could be refused without asking a worker."""

    pipeline: Pipeline
    session_id: str
    seed: int
    policy: stage_pb2.Policy
    params: Mapping[str, float]
    audio: AudioFormat
    text: TextOptions
    language: str
    instruction: str
    priority: int
    max_first_audio_ms: int
    voice: VoiceChoice
    emotion: EmotionChoice


class RequestResolver:
    """Knows which models and voices there are."""

    def __init__(
        self, topology: Topology, voices: Voices, models: Mapping[str, TextFrontend], rules: RequestRules
    ) -> None:
        self._topology = topology
        self._voices = voices
        self._models = models
        self._rules = rules

    def check(self, config: synthesis_pb2.SynthesisConfig) -> CheckedConfig:
        """Check every field of a config; draws the seed if there is none.

        Raises:
            InvalidRequestError: A field is out of range, or asks for what the model cannot do.
            NotFoundError: There is no such model or voice.
            StageLostError: The model's stages have not been seen yet.
        """
        pipeline = self._topology.pipeline(config.model)
        policy = validation.policy(config, pipeline, self._rules.default_policy)
        values = params(config, pipeline, policy)
        # From here on they are parameters like the others.
        policy.params.clear()
        return CheckedConfig(
            pipeline=pipeline,
            session_id=validation.session_id(config.session_id),
            seed=config.seed if config.HasField("seed") else secrets.randbits(64),
            policy=policy,
            emotion=choose_emotion(config.emotion, pipeline, self._voices),
            params=values,
            audio=audio_format(config.audio, pipeline.sample_rate_hz),
            text=text_options(config, pipeline, self._models[pipeline.model]),
            language=config.language,
            instruction=validation.instruction(config, pipeline),
            priority=self._priority(config.priority),
            max_first_audio_ms=validation.max_first_audio_ms(config),
            voice=choose_voice(config, pipeline, self._voices, max_recording_bytes=self._rules.max_inline_voice_bytes),
        )

    async def resolve(self, checked: CheckedConfig, *, utterance_id: str, deadline: float | None) -> SpeechRequest:
        """Fetch what the workers know of the voices and the emotion.

        Raises:
            TtsError: A recording cannot be used, or a stage has no worker.
        """
        pipeline = checked.pipeline
        options = await checked.emotion.options(self._voices, pipeline)
        voice_id, features = await checked.voice.features(self._voices, pipeline)
        return SpeechRequest(
            utterance_id=utterance_id,
            session_id=checked.session_id,
            seed=checked.seed,
            pipeline=pipeline,
            policy=checked.policy,
            inputs={pool.stage: _inputs(pool, checked.params, options, features) for pool in pipeline.pools},
            audio=checked.audio,
            text=checked.text,
            voice_id=voice_id,
            speaker=checked.voice.speaker,
            language=checked.language,
            instruction=checked.instruction,
            max_first_audio_ms=checked.max_first_audio_ms,
            priority=checked.priority,
            deadline=deadline,
        )

    def _priority(self, asked: synthesis_pb2.Priority.ValueType) -> int:
        if asked == synthesis_pb2.PRIORITY_BATCH:
            return self._rules.priority_batch
        if asked in {synthesis_pb2.PRIORITY_UNSPECIFIED, synthesis_pb2.PRIORITY_INTERACTIVE}:
            return self._rules.priority_interactive
        raise InvalidRequestError(
            f"config.priority is {asked}; PRIORITY_INTERACTIVE and PRIORITY_BATCH are allowed",
            field="config.priority",
            reason=Reason.OUT_OF_RANGE,
        )


def new_utterance_id() -> str:
    return uuid.uuid4().hex


def text_options(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, frontend: TextFrontend) -> TextOptions:
    """How the text is read, complete and checked.

    Raises:
        InvalidRequestError: The model does not speak the language, or a rule or limit is not its own.
    """
    given, limit = config.text, segment_limit(pipeline, frontend)
    if given.HasField("max_segment_tokens"):
        lowest = min(MIN_SEGMENT_TOKENS, limit)
        validation.in_range(given.max_segment_tokens, lowest, limit, "config.text.max_segment_tokens")
    options = TextOptions(
        language=config.language,
        glossary=tuple((term.term, term.reading) for term in given.glossary),
        disabled_rules=frozenset(given.disabled_rules),
        max_tokens=given.max_segment_tokens if given.HasField("max_segment_tokens") else None,
    )
    frontend.check_options(options)
    if config.render.policy == "compat":
        _check_published(config)
    return replace(
        options,
        language=validation.model_language(options.language, frontend.languages),
        max_tokens=options.max_tokens or min(frontend.default_policy.max_tokens, limit),
    )


def _check_published(config: synthesis_pb2.SynthesisConfig) -> None:
    """Refuse what the published way to read a text does not know."""
    given = {
        "config.language": config.language,
        "config.text.glossary": config.text.glossary,
        "config.text.disabled_rules": config.text.disabled_rules,
    }
    for path, value in given.items():
        if value:
            raise InvalidRequestError(
                f"{path} cannot be set with policy compat, which reads the text as published",
                field=path,
                reason=Reason.FIELD_CONFLICT,
            )


def segment_limit(pipeline: Pipeline, frontend: TextFrontend) -> int:
    """Most tokens of a segment that both the front end and the model's first stage take."""
    of_stage = pipeline.max_segment_tokens
    return min(of_stage, frontend.max_tokens_limit) if of_stage else frontend.max_tokens_limit


def _inputs(pool: Pool, values: Mapping[str, float], options: Tensors, features: Tensors) -> StageInputs:
    names = {spec.name for spec in pool.about.params}
    taken = {spec.name for spec in pool.about.options}
    return StageInputs(
        params={name: value for name, value in values.items() if name in names},
        options=tensors.to_proto({name: value for name, value in options.items() if name in taken}),
        voice=for_stage(features, pool),
    )
