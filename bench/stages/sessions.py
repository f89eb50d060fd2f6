"""Engines without their workers: sessions with made-up voices, stepped until nothing is left to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from services.common.arrays import Tensors
from services.common.stage.engine import Engine
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk, Session
from services.common.stage.spec import DeviceInfo

WHOLE = Policy(name="whole", is_whole=True)


def device_info(kind: str, dtype: str) -> DeviceInfo:
    return DeviceInfo("bench", kind, "torch", dtype)


def open_session(
    engine: Engine, voice: Tensors, policy: Policy, params: Mapping[str, float], voice_hash: str = ""
) -> Session:
    """Open a session; under a voice's hash an engine keeps for the next one what it derives from the voice."""
    defaults = {param.name: param.default for param in engine.spec.params}
    session = Session("bench", 1, policy, defaults | dict(params), {}, voice, voice_hash=voice_hash)
    engine.open(session)
    return session


def step_all(engine: Engine, sessions: Sequence[Session]) -> Iterator[list[Chunk]]:
    """Step all that is ready until nothing is; what came of each step.

    Raises:
        TtsError: what an engine refuses.
    """
    while ready := [session for session in sessions if engine.is_ready(session)]:
        chunks: list[Chunk] = []
        for _, output in engine.step(ready[: engine.batch_limit]):
            if not isinstance(output, Chunk):
                raise output
            chunks.append(output)
        yield chunks
