"""What workers are told because they share the cores of one machine; a user's own settings go before it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bench.local.members import GATEWAY, WORKERS, Member
from services.common.devices import has_fast_bfloat16

NICENESS = {"gpt_worker": 8, "s2mel_worker": 3}
"""How far workers stand back for those behind them; the GPT runs seconds ahead of the listener."""

AHEAD_NICENESS = {"s2mel_worker": 19, "vocoder_worker": 19}
"""How much further while all its listeners have enough to hear. Not the GPT: its steps are short and hold Python's lock
for half of the time, which its event loop would wait for as long as others compute."""

BUSIEST = ("gpt_worker", "s2mel_worker")
"""The two that compute most."""

_GPU_DRIVER = Path("/dev/nvidiactl")


def shared_settings(member: Member, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for one process: its standing among the others, and the numbers it computes in.

    Matrix products in bfloat16 are taken where the CPU has them and no GPU does the work. All workers get the same
    word, or none where one of them has its own: it is part of the revision by which stages know that they belong
    together.

    Args:
        member: Which process.
        environment: Where a variable that is set already is left alone.
    """
    if member.module == GATEWAY:
        return {}
    wanted: dict[str, int | str] = {
        "NICENESS": NICENESS.get(member.module, 0),
        "AHEAD_NICENESS": AHEAD_NICENESS.get(member.module, 0),
    }
    has_choice = any(name.startswith("TTS_") and name.endswith("_DTYPE") for name in environment)
    if member.gpu is None and not _GPU_DRIVER.exists() and has_fast_bfloat16() and not has_choice:
        wanted["DTYPE"] = "mixed"
    return {
        f"{member.prefix}{name}": str(value)
        for name, value in wanted.items()
        if f"{member.prefix}{name}" not in environment and f"TTS_{name}" not in environment
    }


def cores_of(
    members: Sequence[Member], cores: Collection[int], environment: Mapping[str, str] = os.environ
) -> dict[str, set[int]]:
    """Which cores a worker keeps to, by name; empty where none has to.

    With fewer cores than workers two stages that cannot wait may meet on one core, while the third works ahead alone
    on the other: the kernel moves such tasks only now and then. The two that compute most keep to a core each then; the
    last one goes where there is room.

    Args:
        members: All of the system; only one worker of each stage is placed.
        cores: Those that this process may use.
        environment: Who sets a number of threads there sees to the cores too.
    """
    if any(name.startswith("TTS_") and name.endswith("_THREADS") for name in environment):
        return {}
    workers = [member for member in members if member.module != GATEWAY]
    if not 1 < len(cores) < len(WORKERS) or len(workers) != len(WORKERS) or any(member.gpu for member in workers):
        return {}
    kept = dict(zip(BUSIEST, sorted(cores), strict=True))
    return {member.name: {kept[member.module]} if member.module in kept else set(cores) for member in workers}


def usable_cores() -> set[int]:
    """Cores that this process may use; none where the system cannot tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
