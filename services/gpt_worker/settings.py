"""Everything about the gpt worker that may differ between two deployments."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import Address, Runtime, Server
from services.common.stage.settings import StageSettings, VoiceEncoders


class GptWorkerSettings(StageSettings):
    """The gpt worker: text tokens to codes and latents."""

    model_config = SettingsConfigDict(env_prefix="TTS_GPT_", frozen=True)

    memory_savers: ClassVar[tuple[str, ...]] = ("a smaller prefix_cache_mb", "voice_encoders cpu", "dtype fp16")

    voice_encoders: Runtime[VoiceEncoders] = "device"
    """Where the networks live that only a new voice needs, at full size 2 GB: device keeps them with the others, cpu
    computes voices there, released reads them from the checkpoint for each new voice and gives the memory back."""

    address: Server[Address] = "127.0.0.1:50061"
    """Where to listen, as host:port."""

    metrics_port: Server[int] = Field(default=9461, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""

    prefix_cache_mb: Runtime[int] = Field(default=64, ge=0, le=1_048_576)
    """Memory for the conditioning of the voices that were used last, in MiB, on the device: it saves a share of every
    segment's start. A voice with one emotion takes 8.2 at full size, half of it in half precision on a GPU."""
