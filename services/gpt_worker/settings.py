"""Everything about the gpt worker that may differ between two deployments."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from services.common.stage.settings import StageSettings


class GptWorkerSettings(StageSettings):
    """Read from `TTS_GPT_*` variables and command-line flags."""

    model_config = SettingsConfigDict(env_prefix="TTS_GPT_", frozen=True)

    address: str = "127.0.0.1:50061"
    """Where to listen, as host:port."""

    metrics_port: int = 9461
    """Where Prometheus reads; 0 takes a free port."""
