"""Everything about the s2mel worker that may differ between two deployments."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import Address, Runtime, Server
from services.common.stage.settings import StageSettings, VoiceEncoders


class S2MelWorkerSettings(StageSettings):
    """The s2mel worker: codes to mel frames."""

    model_config = SettingsConfigDict(env_prefix="TTS_S2MEL_", frozen=True)

    memory_savers: ClassVar[tuple[str, ...]] = ("voice_encoders cpu", "dtype fp16")

    voice_encoders: Runtime[VoiceEncoders] = "device"
    """Where the networks live that only a new voice needs: device keeps them with the others, cpu computes voices
    there, released reads them from the checkpoint for each new voice and gives the memory back."""

    address: Server[Address] = "127.0.0.1:50062"
    """Where to listen, as host:port."""

    metrics_port: Server[int] = Field(default=9462, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""
