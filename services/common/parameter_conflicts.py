"""Parameters that do nothing beside others, or are not to be had with them: rules about numbers by name. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DRAWING = ("temperature", "top_p", "top_k")
"""Parameters of how codes are drawn."""


@dataclass(frozen=True, slots=True)
class Conflict:
    name: str
    """The parameter that does not go with another."""
    other: str
    """That other one."""
    why: str
    """Goes on after the parameter's name; `{other}` stands for the name of the other one."""
    is_vain: bool = True
    """The parameter would merely do nothing; False where the two cannot be served together."""


def conflicts(values: Mapping[str, float]) -> Iterator[Conflict]:
    """Every conflict between values; a parameter that is not among them is in none.

    A model's defaults may be among them: whether a parameter without effect matters is for the caller, who knows
    which of them somebody has set.
    """
    beams = values.get("num_beams")
    if beams is not None and beams > 1 and values.get("compat") == 0:
        yield Conflict("num_beams", "compat", "above 1 needs policy compat", is_vain=False)
    if beams is not None and beams <= 1 and "length_penalty" in values:
        yield Conflict("length_penalty", "num_beams", "has no effect unless {other} is above 1")
    if values.get("greedy"):
        for name in DRAWING:
            if name in values:
                yield Conflict(name, "greedy", "has no effect with {other}, which draws nothing")
    if values.get("cfg_rate") == 0 and "guidance_interval" in values:
        yield Conflict("guidance_interval", "cfg_rate", "has no effect where {other} is 0")
