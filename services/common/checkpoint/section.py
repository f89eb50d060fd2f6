"""What every section of a config.yaml has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A config.yaml section: unknown keys are errors, a missing key has the official value."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)
