"""Everything about the vocoder worker that may differ between two deployments."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from services.common.stage.settings import StageSettings


class VocoderWorkerSettings(StageSettings):
    """Read from `TTS_VOCODER_*` variables and command-line flags."""

    model_config = SettingsConfigDict(env_prefix="TTS_VOCODER_", frozen=True)

    address: str = "127.0.0.1:50063"
    """Where to listen, as host:port."""

    metrics_port: int = 9463
    """Where Prometheus reads; 0 takes a free port."""
