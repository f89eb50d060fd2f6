"""Client of a Triptych text-to-speech server."""

from triptych.audio import Audio, Segment, Speech, Timings, Utterance, WavWriter
from triptych.client import Client
from triptych.errors import (
    AlreadyExistsError,
    DeadlineError,
    InternalError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    StreamCancelledError,
    TooLargeError,
    TtsError,
    UnavailableError,
    UnsupportedError,
)
from triptych.health import Health
from triptych.models import Limits, Model, Parameter, Stage
from triptych.options import Emotion, Options, Render, Sampling
from triptych.text_stream import CancelSegment, Flush, TextStream
from triptych.voices import Voice, Voices

__all__ = [
    "AlreadyExistsError",
    "Audio",
    "CancelSegment",
    "Client",
    "DeadlineError",
    "Emotion",
    "Flush",
    "Health",
    "InternalError",
    "InvalidRequestError",
    "Limits",
    "Model",
    "NotAllowedError",
    "NotFoundError",
    "Options",
    "OverloadedError",
    "Parameter",
    "PreconditionError",
    "Render",
    "Sampling",
    "Segment",
    "Speech",
    "Stage",
    "StreamCancelledError",
    "TextStream",
    "Timings",
    "TooLargeError",
    "TtsError",
    "UnavailableError",
    "UnsupportedError",
    "Utterance",
    "Voice",
    "Voices",
    "WavWriter",
]
