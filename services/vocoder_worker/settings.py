"""Everything about the vocoder worker that may differ between two deployments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import Address, Runtime, Server
from services.common.stage.settings import StageSettings


class VocoderWorkerSettings(StageSettings):
    """The vocoder worker: mel frames to samples."""

    model_config = SettingsConfigDict(env_prefix="TTS_VOCODER_", frozen=True)

    gpu_provider: Runtime[Literal["cuda", "tensorrt"]] = "cuda"
    """What of ONNX Runtime computes on a GPU; tensorrt builds an engine at the first start, in half precision where
    dtype is fp16. One that is not installed stops the start."""

    tensorrt_cache_dir: Runtime[Path | None] = None
    """Where TensorRT keeps the engines that it has built; unset builds them at every start."""

    address: Server[Address] = "127.0.0.1:50063"
    """Where to listen, as host:port."""

    metrics_port: Server[int] = Field(default=9463, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""
