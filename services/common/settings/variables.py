"""Settings from the environment: the process's own prefix first, then the one that all processes share."""

from __future__ import annotations

import os

from pydantic_settings import BaseSettings, EnvSettingsSource

from services.common.settings.fields import SHARED_PREFIX, is_secret, prefix_of, variable_of
from services.common.settings.given import Found, Given
from services.common.settings.names import Names, did_you_mean, nearest, prefixes

_LIKENESS = 0.7
"""How like a setting a shared name must look before it counts as misspelt; others may be meant for other programs."""


def read_variables(cls: type[BaseSettings], names: Names) -> Found:
    """Return what the environment sets, and names in it that look like settings and are none."""
    found = Found(problems=_unknown(cls, names))
    for prefix in prefixes_read(cls)[::-1]:
        values = EnvSettingsSource(cls, env_prefix=prefix, env_ignore_empty=True)()
        found.given |= {name: Given(value, variable_of(prefix, name)) for name, value in values.items()}
    return found


def forget_secrets(cls: type[BaseSettings]) -> None:
    """Take the variables of secret settings out of the environment, so that no child process or dump has them."""
    secrets = [name for name, field in cls.model_fields.items() if is_secret(field)]
    variables = {variable_of(prefix, name) for prefix in prefixes_read(cls) for name in secrets}
    for name in [name for name in os.environ if name.upper() in variables]:
        del os.environ[name]


def prefixes_read(cls: type[BaseSettings]) -> list[str]:
    """Return the prefixes of a process's variables; the first one wins."""
    own = prefix_of(cls)
    return [own, SHARED_PREFIX] if own else [SHARED_PREFIX]


def _unknown(cls: type[BaseSettings], names: Names) -> list[str]:
    own = prefix_of(cls)
    others = tuple(prefix for prefix in prefixes(names) if prefix != own)
    anywhere = {name for process in names.values() for name in process}
    lines = []
    for variable in sorted(os.environ):
        upper = variable.upper()
        if own and upper.startswith(own):
            prefix, likeness, known = own, 0.6, set(cls.model_fields)
        elif upper.startswith(SHARED_PREFIX) and not upper.startswith(others):
            prefix, likeness, known = SHARED_PREFIX, _LIKENESS, anywhere
        else:
            continue
        name = upper.removeprefix(prefix).lower()
        meant = nearest(name, cls.model_fields, likeness=likeness)
        if name not in known and (meant or prefix == own):
            lines.append(f"{variable} is not a setting{did_you_mean(meant and variable_of(prefix, meant))}")
    return lines
