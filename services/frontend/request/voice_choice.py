"""Whose voice a request wants, checked against what the model can speak in."""

from __future__ import annotations

from dataclasses import dataclass

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, NotFoundError, StageFailedError, TooLargeError
from services.common.reasons import Reason
from services.frontend.request import capabilities
from services.frontend.voices.features import check_transcript_given
from services.frontend.voices.record import StoredVoice, check_transcript
from services.frontend.voices.registry import Voices
from services.frontend.workers.topology import Pipeline

VOICE_FIELD = "config.voice"
RECORDING_FIELD = "config.recording"


@dataclass(frozen=True)
class VoiceChoice:
    """One of three, or nothing for a model that has only one way to speak."""

    speaker: str = ""
    stored: StoredVoice | None = None
    recording: synthesis_pb2.ReferenceRecording | None = None

    async def features(self, voices: Voices, pipeline: Pipeline) -> tuple[str, Tensors]:
        """The voice's id, and what the stages need to know of it.

        Raises:
            TtsError: A recording cannot be used, or a worker cannot be reached.
        """
        if self.recording is not None:
            given = self.recording
            return await voices.inline(given.audio, given.transcript, pipeline, field_path=RECORDING_FIELD)
        if self.stored is not None:
            return self.stored.id, await voices.features(self.stored, pipeline)
        return self.speaker, {}


def choose_voice(
    config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, voices: Voices, *, max_recording_bytes: int
) -> VoiceChoice:
    """Find the voice that a config names, or the one that it gets when it names none.

    Raises:
        InvalidRequestError: The model cannot speak in such a voice.
        NotFoundError: There is no voice of this name.
    """
    if config.WhichOneof("voice_source") == "recording":
        _check_recording(config.recording, pipeline, max_recording_bytes)
        return VoiceChoice(recording=config.recording)
    if config.voice:
        return _named(config.voice, pipeline, voices)
    return _unnamed(pipeline, voices)


def _named(name: str, pipeline: Pipeline, voices: Voices) -> VoiceChoice:
    if name in pipeline.speakers:
        return VoiceChoice(speaker=name)
    try:
        stored = voices.resolve(name, field_path=VOICE_FIELD)
    except NotFoundError as error:
        if pipeline.speakers:
            raise NotFoundError(
                f"{error.message}; the model's own are: {', '.join(pipeline.speakers)}",
                field=VOICE_FIELD,
                reason=Reason.VOICE_NOT_FOUND,
                metadata=error.metadata,
            ) from None
        raise
    return _registered(stored, pipeline)


def _unnamed(pipeline: Pipeline, voices: Voices) -> VoiceChoice:
    has_speakers = stage_pb2.VOICE_MODE_NAMED in pipeline.voice_modes and bool(pipeline.speakers)
    if capabilities.speaks_references(pipeline) and (default := _default(pipeline, voices, is_needed=not has_speakers)):
        return default
    if has_speakers:
        return VoiceChoice(speaker=pipeline.speakers[0])
    if any(not spec.is_optional for spec in pipeline.conditions().values()):
        raise StageFailedError(
            f"model {pipeline.model!r} needs to know of a voice and names no way to say which",
            reason=Reason.VOICE_STEPS_INCOMPLETE,
        )
    return VoiceChoice()


def _default(pipeline: Pipeline, voices: Voices, *, is_needed: bool) -> VoiceChoice | None:
    """The default voice; None when it cannot be used and the model has others."""
    try:
        return _registered(voices.resolve("", field_path=VOICE_FIELD), pipeline)
    except (NotFoundError, InvalidRequestError):
        if is_needed:
            raise
        return None


def _registered(stored: StoredVoice, pipeline: Pipeline) -> VoiceChoice:
    if not capabilities.speaks_references(pipeline):
        raise _no_reference(VOICE_FIELD, pipeline)
    check_transcript_given(pipeline, stored.transcript, field_path=VOICE_FIELD)
    return VoiceChoice(stored=stored)


def _check_recording(recording: synthesis_pb2.ReferenceRecording, pipeline: Pipeline, max_bytes: int) -> None:
    if not capabilities.speaks_references(pipeline):
        raise _no_reference(RECORDING_FIELD, pipeline)
    path = f"{RECORDING_FIELD}.transcript"
    if recording.transcript and not capabilities.speaks_transcripts(pipeline):
        raise capabilities.missing(
            "voice_transcript", path, pipeline, allowed="it takes a recording without what is said in it"
        )
    check_transcript_given(pipeline, recording.transcript, field_path=path)
    check_transcript(recording.transcript, field_path=path)
    if not recording.audio:
        raise InvalidRequestError(
            "the recording has no bytes", field=f"{RECORDING_FIELD}.audio", reason=Reason.RECORDING_EMPTY
        )
    if len(recording.audio) > max_bytes:
        raise TooLargeError(
            f"the recording has {len(recording.audio)} bytes; at most {max_bytes} are allowed in a request",
            field=f"{RECORDING_FIELD}.audio",
            metadata={"maximum": str(max_bytes)},
        )


def _no_reference(path: str, pipeline: Pipeline) -> InvalidRequestError:
    own = ", ".join(pipeline.speakers)
    allowed = f"its own voices are: {own}" if own else "it has one voice, which needs no name"
    return capabilities.missing("voice_reference", path, pipeline, allowed=allowed)
