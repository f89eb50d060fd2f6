"""The parameters of IndexTTS2's stages: what a request may set, and a profile for requests that do not.

They are known from config.yaml alone, so that every process can tell a profile's mistake, also about another stage.
"""

from __future__ import annotations

from services.common.checkpoint.sections import CheckpointConfig
from services.common.stage.spec import ParamSpec

MIN_DURATION_FACTOR, MAX_DURATION_FACTOR = 0.5, 2.0
"""What the frames of a code may be multiplied by."""


def gpt_parameters(config: CheckpointConfig) -> tuple[ParamSpec, ...]:
    default, codes, longest = config.triptych.sampling, config.gpt.number_mel_codes, config.gpt.max_mel_tokens
    return (
        ParamSpec("temperature", 0.1, 2.0, default.temperature, "flattens (above 1) or sharpens the choice of codes"),
        ParamSpec("top_p", 0.01, 1.0, default.top_p, "keeps the likeliest codes up to this probability"),
        ParamSpec(
            "top_k",
            0,
            codes,
            min(default.top_k, codes),
            "keeps so many of the likeliest codes; 0 is off",
            is_integer=True,
        ),
        ParamSpec("repetition_penalty", 0.1, 20.0, default.repetition_penalty, "weakens codes that were used"),
        ParamSpec(
            "max_codes",
            1,
            longest,
            min(default.max_mel_tokens, longest),
            "cuts a segment after so many codes",
            is_integer=True,
        ),
        ParamSpec(
            "greedy", 0, 1, float(not default.do_sample), "1 takes the likeliest code each time", is_integer=True
        ),
        ParamSpec(
            "num_beams", 1, 10, default.num_beams, "beams of the search; above 1 only with compat", is_integer=True
        ),
        ParamSpec("length_penalty", -2.0, 2.0, default.length_penalty, "prefers long (above 0) or short beams"),
        ParamSpec("emotion_weight", 0.0, 1.0, 1.0, "strength of the emotion vector or recording"),
        ParamSpec("emotion_normalized", 0, 1, 0, "1 damps and limits the emotion vector", is_integer=True),
        ParamSpec(
            "compat",
            0,
            1,
            0,
            "1 decodes a segment whole, with the published positions and second pass",
            is_integer=True,
        ),
    )


def s2mel_parameters(config: CheckpointConfig) -> tuple[ParamSpec, ...]:
    default = config.triptych.flow
    return (
        ParamSpec("steps", 1, 100, default.steps, "steps of the flow-matching solver", is_integer=True),
        ParamSpec("sway", -1.0, 1.0, 0.0, "below 0 more of the steps are early, above 0 late; 0 makes equal steps"),
        ParamSpec(
            "solver_order",
            1,
            2,
            1,
            "1: Euler steps. 2: a step also leans on the velocity before, at no further cost",
            is_integer=True,
        ),
        ParamSpec(
            "guidance_interval",
            1,
            100,
            1,
            "steps from one computation of the guidance to the next, once the flow has settled",
            is_integer=True,
        ),
        ParamSpec("cfg_rate", 0.0, 3.0, default.cfg_rate, "strength of classifier-free guidance"),
        ParamSpec(
            "duration_factor",
            MIN_DURATION_FACTOR,
            MAX_DURATION_FACTOR,
            1.0,
            "frames of a code: 2 speaks half as fast",
        ),
        ParamSpec("compat", 0, 1, 0, "1 renders a segment whole, with the published frame map", is_integer=True),
    )
