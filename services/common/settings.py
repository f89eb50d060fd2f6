"""What every service lets an operator set: a flag wins over the environment, that over a default."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

BAD_SETTINGS_EXIT_CODE = 2

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")


def _checked_address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("must be host:port with a port from 0 to 65535, such as 127.0.0.1:50051 or [::]:50051")
    return value


Address = Annotated[str, AfterValidator(_checked_address)]


class ServiceSettings(BaseSettings):
    """What all services share; a subclass sets `env_prefix` (``TTS_GPT_``), its defaults and its own fields.

    The docstring under a field is its help text. Kubernetes sets variables named after
    Services (``TTS_GPT_PORT`` for tts-gpt), which look like misspelt ones: set ``enableServiceLinks: false``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        validate_default=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    address: Address = "127.0.0.1:0"
    """Where to listen, as host:port; port 0 takes a free one."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the Prometheus metrics, on the same host as the address; 0 turns them off."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines that are written."""

    drain_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How long running calls may take to finish after SIGTERM."""

    settle_seconds: float = Field(default=0.5, ge=0, le=300)
    """How long new calls are still taken after SIGTERM, while health already says NOT_SERVING."""

    otlp_endpoint: str = ""
    """OTLP collector that traces are sent to by gRPC, such as http://collector:4317; empty sends none."""

    @property
    def host(self) -> str:
        """The host part of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")


AnySettings = TypeVar("AnySettings", bound=ServiceSettings)


def load_settings(cls: type[AnySettings], argv: Sequence[str] | None = None) -> AnySettings:
    """Read flags (the process's own unless given), environment and defaults.

    Raises:
        SystemExit: With 2 after one screen that names each wrong setting, its value and what is allowed;
            with 0 after ``--help``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    problems = _unknown_names(cls)
    try:
        settings = cls(_cli_parse_args=arguments)
    except ValidationError as error:
        problems += [_describe(cls, detail) for detail in error.errors()]
    if problems:
        lines = [f"{cls.__name__}: {len(problems)} wrong", *(f"  {line}" for line in problems)]
        sys.stderr.write("\n".join([*lines, "--help lists every setting."]) + "\n")
        raise SystemExit(BAD_SETTINGS_EXIT_CODE)
    return settings


def _unknown_names(cls: type[ServiceSettings]) -> list[str]:
    """Return a line for each variable that has the service's prefix and is no setting of it."""
    prefix = cls.model_config["env_prefix"]
    known = [_variable(cls, name) for name in cls.model_fields]
    given = [name for name in os.environ if prefix and name.upper().startswith(prefix.upper())]
    lines = []
    for name in sorted(given):
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def _describe(cls: type[ServiceSettings], detail: ErrorDetails) -> str:
    if not detail["loc"]:
        return detail["msg"]
    name = str(detail["loc"][0])
    flag = f"--{name.replace('_', '-')}"
    if detail["type"] == "missing":
        return f"{flag} or {_variable(cls, name)} must be set"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{flag} or {_variable(cls, name)} is {detail['input']!r}: {message}"


def _variable(cls: type[ServiceSettings], field: str) -> str:
    return f"{cls.model_config['env_prefix']}{field}".upper()
