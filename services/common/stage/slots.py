"""How many slots a worker has: as many as the settings say, or fewer where its memory limit holds fewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from services.common.checkpoint import CheckpointError

logger = structlog.get_logger(__name__)

MEBIBYTE = 2**20

_SAVERS = ("fewer slots", "a smaller max_batch_size")
"""What every stage may be set to that takes too much."""

Demand = Callable[[int], Mapping[str, int]]
"""What a worker with so many slots takes on its device at the most, in bytes by what for. Grows with the slots."""


def less_memory(savers: Sequence[str]) -> str:
    """What a worker may be set to that takes too much, for messages.

    Args:
        savers: The stage's own settings, `StageSettings.memory_savers`.
    """
    return _one_of([*_SAVERS, *savers])


def slots_that_fit(wanted: int, *, stage: str, limit_bytes: int, demand: Demand, savers: Sequence[str] = ()) -> int:
    """Return the number of slots, and say in the log what each part takes.

    Args:
        wanted: What the setting `slots` says.
        stage: The stage's name, for messages.
        limit_bytes: What the process may take on its device; 0 is no limit.
        demand: What it takes.
        savers: The stage's own settings that make that less; one slot needs what it needs, however many are set.

    Raises:
        CheckpointError: Not one slot fits.
    """
    fitting = wanted if not limit_bytes else _most_that_fit(wanted, limit_bytes, demand)
    if not fitting:
        parts = demand(1)
        other = f", or choose {_one_of(savers)}" if savers else ""
        raise CheckpointError(
            f"gpu_memory_mb is {_mebibytes(limit_bytes)}, but the {stage} worker with one slot needs "
            f"{_mebibytes(sum(parts.values()))}: {_told(parts)}; raise it{other}"
        )
    parts = demand(fitting)
    logger.info(
        "slots",
        stage=stage,
        slots=fitting,
        slots_wanted=wanted,
        limit_mb=_mebibytes(limit_bytes),
        needed_mb=_mebibytes(sum(parts.values())),
        **{f"{name}_mb": _mebibytes(size) for name, size in parts.items()},
    )
    return fitting


def _most_that_fit(wanted: int, limit_bytes: int, demand: Demand) -> int:
    """0 where not even one does."""
    fits = (slots for slots in range(wanted, 0, -1) if sum(demand(slots).values()) <= limit_bytes)
    return next(fits, 0)


def _told(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_mebibytes(size)}" for name, size in parts.items())


def _one_of(choices: Sequence[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def _mebibytes(size: int) -> int:
    """Rounded up, so that what a message asks for is enough."""
    return -(-size // MEBIBYTE)
