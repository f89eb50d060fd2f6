"""Which field of a public request sets what the stages know by a name of their own."""

from __future__ import annotations

import re

FIELD_OF_PARAM = {
    "temperature": "config.sampling.temperature",
    "top_p": "config.sampling.top_p",
    "top_k": "config.sampling.top_k",
    "repetition_penalty": "config.sampling.repetition_penalty",
    "max_codes": "config.sampling.max_codes",
    "greedy": "config.sampling.is_greedy",
    "steps": "config.render.steps",
    "cfg_rate": "config.render.cfg_rate",
    "compat": "config.render.policy",
    "emotion_weight": "config.emotion.weight",
    "emotion_normalized": "config.emotion.vector.is_normalized",
    "duration_factor": "config.speaking_rate",
}
"""Parameters that have a field of their own; all others are set by `config.params`."""

_FIELD_OF_OPTION = {"emotion_vector": "config.emotion.vector", "emotion_emovec": "config.emotion.voice"}
_FIELD_OF_OPEN = {
    "policy": "config.render.policy",
    "instruction": "config.instruction",
    "speaker": "config.voice",
    "language": "config.language",
    "seed": "config.seed",
    "priority": "config.priority",
    "session_id": "config.session_id",
}
_NAMED = re.compile(r"open\.(params|options)\[(.+)\]")


def field_of_param(name: str) -> str:
    """The path of the field that sets a parameter."""
    return FIELD_OF_PARAM.get(name, f"config.params[{name}]")


def public_field(path: str) -> str:
    """The caller's own field for one of the stage protocol; empty for what the caller has no hand in."""
    if match := _NAMED.fullmatch(path):
        group, name = match.groups()
        return field_of_param(name) if group == "params" else _FIELD_OF_OPTION.get(name, "config.emotion")
    if path.startswith("open."):
        return _FIELD_OF_OPEN.get(path.split(".")[1], "")
    if path.startswith("chunk."):
        return "text"
    return path if path == "text" or path.startswith("config") else ""
