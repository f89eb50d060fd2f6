"""What may differ between two deployments of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import Address, CommaList, Model, Runtime, Server, ServiceSettings


def _not_compat(name: str) -> str:
    # It needs the whole text at once: no stream of text could go without naming another.
    if name == "compat":
        raise ValueError("must be a policy that every request can have; compat is asked for by name")
    return name


PolicyName = Annotated[str, AfterValidator(_not_compat)]


class FrontendSettings(ServiceSettings):
    """The gateway: the public API, queue, voices and text."""

    model_config = SettingsConfigDict(env_prefix="TTS_FRONTEND_")

    model_dir: Model[Path] = Path("models/mini")
    """Checkpoint directory of the default model; of it config.yaml, the tokenizer and voices/ are read, no weights."""

    more_models: Model[CommaList[Path]] = ()
    """Checkpoint directories of further models that this gateway serves; each needs workers of its own."""

    voices_dir: Model[Path | None] = None
    """Directory whose audio files become voices under their file names, at start and on change; none unless set."""

    voice_store: Model[Path] = Path("var/voices")
    """Where registered voices are kept: recordings, names and features."""

    default_voice: Model[str] = ""
    """Voice of requests that name none, until another is set by the API; empty takes the model's first bundled one."""

    default_policy: Model[PolicyName] = ""
    """Policy of requests that name none: latency, balanced, throughput or another one of the model, or whole; empty
    takes the model's first. A model without a policy of this name takes its first too, which the log says."""

    max_unary_characters: Runtime[int] = Field(default=5_000, ge=1)
    """Longest text of a Synthesize request, and of an Analyze request that asks for codes."""

    max_stream_characters: Runtime[int] = Field(default=20_000, ge=1)
    """Longest text of a SynthesizeStream request, of a message of StreamingSynthesize, and of Analyze without codes."""

    max_queue: Runtime[int] = Field(default=32, ge=0)
    """Utterances of each model that may wait for a slot; one more is refused."""

    max_streams: Runtime[int] = Field(default=256, ge=1)
    """Calls that speak or analyze and may be in work at once, waiting ones included; one more is refused."""

    max_uploads: Runtime[int] = Field(default=8, ge=1)
    """Recordings that may be uploaded at once; one more is refused."""

    max_voice_bytes: Runtime[int] = Field(default=20_000_000, ge=1)
    """Largest recording that may be uploaded."""

    max_inline_voice_bytes: Runtime[int] = Field(default=10_000_000, ge=1)
    """Largest reference recording inside a request."""

    decode_memory_mb: Runtime[int] = Field(default=1024, ge=256)
    """Address space of the process that decodes a recording, in MiB."""

    decode_seconds: Runtime[float] = Field(default=20.0, gt=0)
    """Time that decoding a recording may take."""

    priority_interactive: Runtime[int] = Field(default=10, ge=-1000, le=1000)
    """Rank of interactive requests in the queue and in the workers; the higher goes first."""

    priority_batch: Runtime[int] = Field(default=0, ge=-1000, le=1000)
    """Rank of batch requests, likewise."""

    upload_idle_seconds: Runtime[float] = Field(default=30.0, gt=0)
    """An upload that sends no message for so long is ended."""

    text_idle_seconds: Runtime[float] = Field(default=2.0, gt=0)
    """A stream that waits longer for text gives its slots back until text comes."""

    stream_idle_seconds: Runtime[float] = Field(default=300.0, gt=0)
    """A stream that sends no message for so long is ended."""

    client_lead_seconds: Runtime[float] = Field(default=30.0, gt=0)
    """Audio that may wait for a client before the stages have to wait for it."""

    stage_lead_seconds: Runtime[float] = Field(default=8.0, gt=0)
    """How far the first stage may run ahead of the sound that the last one has given, besides what the largest window
    takes; then it waits, and what it is given up for costs no more than this."""

    client_stall_seconds: Runtime[float] = Field(default=60.0, gt=0)
    """A client that takes no audio for so long, while the stages wait for it, is given up."""

    open_retry_seconds: Runtime[float] = Field(default=2.0, ge=0)
    """How long a worker that refuses a stream is asked again."""

    heartbeat_silence_seconds: Runtime[float] = Field(default=5.0, gt=0)
    """A worker without a heartbeat for so long counts as lost."""

    address: Server[Address] = "127.0.0.1:50051"
    """Where to listen, as host:port; port 0 takes a free one."""

    workers: Server[CommaList[Address]] = ("127.0.0.1:50061", "127.0.0.1:50062", "127.0.0.1:50063")
    """Addresses of the stage workers of all models, host:port; each says itself which model and stage it is."""

    metrics_port: Server[int] = Field(default=9460, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""

    api_token: Server[SecretStr] = SecretStr("")
    """Token that callers must send as `authorization: Bearer TOKEN`; empty lets everyone in. Health needs none.
    Better in the environment or the file than in a flag, which others on the machine can see."""

    @field_validator("workers")
    @classmethod
    def _has_workers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must be one or more host:port with commas between")
        return value

    @field_validator("api_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError("must be printable ASCII characters without spaces")
        return value

    @property
    def worker_addresses(self) -> list[str]:
        return list(self.workers)

    @property
    def model_dirs(self) -> list[Path]:
        """The default model's directory, then those of the others."""
        return [self.model_dir, *self.more_models]
