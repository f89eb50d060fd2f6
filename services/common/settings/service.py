"""The settings that all services share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.common.settings.fields import Address, Server


class ServiceSettings(BaseSettings):
    """What all services share; a subclass sets `env_prefix` (``TTS_GPT_``), its defaults and its own fields.

    The docstring under a field is its help text, and `Model`, `Runtime` or `Server` around its type its table in the
    file. Made directly, a class takes the arguments and its defaults; `load_settings` reads flags, environment, file.

    Kubernetes sets variables named after Services (``TTS_GPT_PORT`` for tts-gpt), which look like misspelt ones: set
    ``enableServiceLinks: false``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_show_env_vars=True,
    )

    address: Server[Address] = "127.0.0.1:0"
    """Where to listen, as host:port; port 0 takes a free one."""

    metrics_port: Server[int] = Field(default=0, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""

    log_level: Server[Literal["debug", "info", "warning", "error"]] = "info"
    """The least severe log lines that are written."""

    drain_seconds: Server[float] = Field(default=30.0, ge=0, le=3600)
    """How long running calls may take to finish after SIGTERM."""

    settle_seconds: Server[float] = Field(default=0.5, ge=0, le=300)
    """How long new calls are still taken after SIGTERM, while health already says NOT_SERVING."""

    otlp_endpoint: Server[str] = ""
    """OTLP collector that traces are sent to by gRPC, such as http://collector:4317; empty sends none."""

    @property
    def host(self) -> str:
        """The host part of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature, here and below
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
