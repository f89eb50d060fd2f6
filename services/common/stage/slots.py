"""How many slots a worker has: as many as the settings say, or fewer where its memory limit holds fewer."""

from __future__ import annotations

import structlog

from services.common.checkpoint import CheckpointError

logger = structlog.get_logger(__name__)

MEBIBYTE = 2**20


def slots_that_fit(wanted: int, *, stage: str, limit_bytes: int, fixed_bytes: int, bytes_per_slot: int) -> int:
    """Return the number of slots, and say in the log what each takes.

    Args:
        wanted: What the setting `slots` says.
        stage: The stage's name, for messages.
        limit_bytes: What the process may take on its device; 0 is no limit.
        fixed_bytes: What it takes with no slot in use, mostly weights.
        bytes_per_slot: What one more slot takes, at its largest.

    Raises:
        CheckpointError: Not one slot fits.
    """
    fitting = wanted if not limit_bytes else min(wanted, (limit_bytes - fixed_bytes) // max(1, bytes_per_slot))
    if fitting < 1:
        needed = _mebibytes(fixed_bytes + bytes_per_slot)
        raise CheckpointError(
            f"gpu_memory_mb is {_mebibytes(limit_bytes)}, but the {stage} worker needs at least {needed}: "
            f"{_mebibytes(fixed_bytes)} for its weights and {_mebibytes(bytes_per_slot)} for each slot"
        )
    logger.info(
        "slots",
        stage=stage,
        slots=fitting,
        slots_wanted=wanted,
        fixed_mb=_mebibytes(fixed_bytes),
        slot_mb=_mebibytes(bytes_per_slot),
        limit_mb=_mebibytes(limit_bytes),
    )
    return fitting


def _mebibytes(size: int) -> int:
    """Rounded up, so that what a message asks for is enough."""
    return -(-size // MEBIBYTE)
