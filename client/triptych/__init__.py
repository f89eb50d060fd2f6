"""Client of a Triptych text-to-speech server: `Client` for ordinary programs, `AsyncClient` for asyncio."""

from triptych.analysis import Analysis, AnalyzedSegment, Token
from triptych.async_client import AsyncClient
from triptych.audio import Audio, Segment, Speech, TextSpan, TextWarning, Timings, Usage, Utterance
from triptych.blocking import AudioStream, TextStream, Voices
from triptych.client import Client
from triptych.encodings import Encoding, Samples
from triptych.errors import (
    AudioError,
    ConfigError,
    DeadlineError,
    DecodeError,
    IoError,
    ModelError,
    QosError,
    TokenizerError,
    TtsError,
)
from triptych.health import Health
from triptych.models import Limits, Model, Parameter, Policy, Stage
from triptych.options import EMOTIONS, Emotion, Options, Render, Sampling
from triptych.recording import Recording, RecordingFile, RecordingLike, VoiceLike
from triptych.retries import Retry
from triptych.status import ModelStatus, StageStatus, SystemStatus, WorkerStatus
from triptych.streams import AsyncAudioStream
from triptych.text_stream import AsyncTextStream, CancelSegment, Flush, Piece
from triptych.voices import AsyncVoices, Voice, VoiceWarning
from triptych.wav import WavWriter

__all__ = [
    "EMOTIONS",
    "Analysis",
    "AnalyzedSegment",
    "AsyncAudioStream",
    "AsyncClient",
    "AsyncTextStream",
    "AsyncVoices",
    "Audio",
    "AudioError",
    "AudioStream",
    "CancelSegment",
    "Client",
    "ConfigError",
    "DeadlineError",
    "DecodeError",
    "Emotion",
    "Encoding",
    "Flush",
    "Health",
    "IoError",
    "Limits",
    "Model",
    "ModelError",
    "ModelStatus",
    "Options",
    "Parameter",
    "Piece",
    "Policy",
    "QosError",
    "Recording",
    "RecordingFile",
    "RecordingLike",
    "Render",
    "Retry",
    "Samples",
    "Sampling",
    "Segment",
    "Speech",
    "Stage",
    "StageStatus",
    "SystemStatus",
    "TextSpan",
    "TextStream",
    "TextWarning",
    "Timings",
    "Token",
    "TokenizerError",
    "TtsError",
    "Usage",
    "Utterance",
    "Voice",
    "VoiceLike",
    "VoiceWarning",
    "Voices",
    "WavWriter",
    "WorkerStatus",
]
