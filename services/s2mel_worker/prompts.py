"""What renders are given besides codes: a voice's prompt and a solver's clock, kept for those that were used last."""

from __future__ import annotations

import numpy as np
import torch

from services.common.byte_lru import ByteLru
from services.common.stage.session import Session
from services.s2mel_worker.model.render import Prompt, cut_prompt, whole_prompt
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.stage import S2MelStageModel, Voice
from services.s2mel_worker.model.trajectory import Clock

PROMPT_CACHE_BYTES = 256 * 2**20
"""A prompt of 15 s takes 3 MiB at the published size."""
CLOCK_CACHE_BYTES = 64 * 2**20
"""A clock of 25 steps takes 4 MiB at the published size."""


class Prompts:
    """The part of each voice that its renders see."""

    def __init__(self, stage: S2MelStageModel) -> None:
        self._stage = stage
        self._kept = ByteLru[tuple[str, float], Prompt]("s2mel_prompts", max_bytes=PROMPT_CACHE_BYTES)

    def of(self, session: Session) -> Prompt:
        """What the session's renders see of its voice: all of it in a published render."""
        seconds = float("inf") if session.params["compat"] else session.policy.prompt_seconds
        key = (session.voice_hash, seconds)
        prompt = self._kept.get(key) if session.voice_hash else None
        if prompt is None:
            voice = self._voice(session)
            prompt = whole_prompt(voice) if seconds == float("inf") else cut_prompt(self._stage, voice, seconds)
            if session.voice_hash:
                self._kept.put(key, prompt, prompt.num_bytes)
        return prompt

    def clear(self) -> None:
        """Keep none of them; sessions go on with theirs."""
        self._kept.clear()

    def _voice(self, session: Session) -> Voice:
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in session.voice.items()}
        return self._stage.on_device(
            Voice(
                style=arrays["style"],
                prompt_codes=arrays["prompt_codes"].long(),
                prompt_condition=arrays["prompt_condition"],
                prompt_mel=arrays["prompt_mel"],
            )
        )


class Clocks:
    """The times of each solver's steps, with what the network is told of them."""

    def __init__(self, stage: S2MelStageModel) -> None:
        self._stage = stage
        self._kept = ByteLru[Solver, Clock]("s2mel_clocks", max_bytes=CLOCK_CACHE_BYTES)

    def of(self, session: Session) -> Clock:
        params = session.params
        solver = Solver(
            int(params["steps"]), params["sway"], int(params["solver_order"]), int(params["guidance_interval"])
        )
        clock = self._kept.get(solver)
        if clock is None:
            clock = Clock.of(self._stage.velocity, solver)
            self._kept.put(solver, clock, clock.num_bytes)
        return clock

    def clear(self) -> None:
        """Keep none of them; renders go on with theirs."""
        self._kept.clear()
