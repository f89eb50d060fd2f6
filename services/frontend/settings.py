"""What may differ between two deployments of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import Address, ServiceSettings


class FrontendSettings(ServiceSettings):
    """Environment prefix `TTS_FRONTEND_`."""

    model_config = SettingsConfigDict(env_prefix="TTS_FRONTEND_")

    address: Address = "127.0.0.1:50051"
    """Where to listen, as host:port; port 0 takes a free one."""

    workers: str = "127.0.0.1:50061,127.0.0.1:50062,127.0.0.1:50063"
    """Addresses of all stage workers, host:port, with commas between; each says itself which stage it is."""

    model_dir: Path = Path("models/mini")
    """Checkpoint directory; the gateway reads config.yaml, the tokenizer and voices/ of it, no weights."""

    voices_dir: Path = Path("var/voices")
    """Where registered voices are kept."""

    default_voice: str = ""
    """Voice of requests that name none; empty for the model's first bundled one."""

    max_unary_characters: int = Field(default=5_000, ge=1)
    """Longest text of a Synthesize request."""

    max_stream_characters: int = Field(default=20_000, ge=1)
    """Longest text of a SynthesizeStream request, and of one message of StreamingSynthesize."""

    max_queue: int = Field(default=32, ge=0)
    """Utterances that may wait for a slot; one more is refused."""

    max_streams: int = Field(default=256, ge=1)
    """Streams of SynthesizeStream and StreamingSynthesize that may be open; one more is refused."""

    max_uploads: int = Field(default=8, ge=1)
    """Recordings that may be uploaded at once; one more is refused."""

    upload_idle_seconds: float = Field(default=30.0, gt=0)
    """An upload that sends no message for so long is ended."""

    max_voice_bytes: int = Field(default=20_000_000, ge=1)
    """Largest recording that may be uploaded."""

    decode_memory_mb: int = Field(default=1024, ge=256)
    """Address space of the process that decodes a recording."""

    decode_seconds: float = Field(default=20.0, gt=0)
    """Time that decoding a recording may take."""

    text_idle_seconds: float = Field(default=2.0, gt=0)
    """A stream that waits longer for text gives its slots back until text comes."""

    stream_idle_seconds: float = Field(default=300.0, gt=0)
    """A stream that sends no message for so long is ended."""

    client_lead_seconds: float = Field(default=30.0, gt=0)
    """Audio that may wait for a client before the stages have to wait for it."""

    client_stall_seconds: float = Field(default=60.0, gt=0)
    """A client that takes no audio for so long, while the stages wait for it, is given up."""

    open_retry_seconds: float = Field(default=2.0, ge=0)
    """How long a worker that refuses a stream is asked again."""

    heartbeat_silence_seconds: float = Field(default=5.0, gt=0)
    """A worker without a heartbeat for so long counts as lost."""

    metrics_port: int = Field(default=9460, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""

    @field_validator("workers")
    @classmethod
    def _has_workers(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts or not all(":" in part and part.rpartition(":")[2].isdigit() for part in parts):
            raise ValueError("must be one or more host:port with commas between")
        return ",".join(parts)

    @property
    def worker_addresses(self) -> list[str]:
        return self.workers.split(",")
