"""A new half is ready, and another process owns the old one: wait until that has taken it, or says why not."""

import time
from collections.abc import Callable
from pathlib import Path

from ragsaver.index.ownership import APPLIES, SERVES, Owner, current_owner
from ragsaver.ingestion.half import Half

# These look for a new half while they run.
_TAKE_OVER = frozenset({SERVES, APPLIES})

_LOOK_S = 0.1


def hand_over(home: Path, half: Half, waits: Callable[[str], None]) -> str | None:
    """Wait for the owner.

    :param half: complete, and not held by this process.
    :param waits: called once with what is waited for.
    :returns: why the half is not taken; None if it is, or if nobody owns `home` any more.
    """
    told: int | None = None
    while not half.in_use() and (owner := current_owner(home)) is not None:
        reason = _refused(half, owner)
        if reason is not None:
            return reason
        if owner.pid != told:
            told = owner.pid
            waits(f"the new index is ready; `{owner.role}` (process {owner.pid}) takes it")
        time.sleep(_LOOK_S)
    return None


def _refused(half: Half, owner: Owner) -> str | None:
    who = f"`{owner.role}` (process {owner.pid})"
    if owner.pid and owner.role not in _TAKE_OVER:
        return (
            f"the new index is ready, but the old one is held by {who}, which goes on with it. "
            "End it and run `ragsaver migrate` once more"
        )
    refusal = half.refusal()
    if refusal is not None:
        return f"the new index is ready, but {who} goes on with the old one: {refusal}"
    if half.ready() is None and not half.in_use():
        return (
            f"{who} stopped before it had taken the new index, or another `ragsaver migrate` works on it; run it again"
        )
    return None
