"""A new half is ready, and another process owns the old one: wait until that has taken it, or says why not."""

import time
from collections.abc import Callable

from ragsaver.errors import IndexLocked
from ragsaver.index.ownership import APPLIES, SERVES, Owner, current_owner
from ragsaver.ingestion.half import Half
from ragsaver.ingestion.migrating import holding
from ragsaver.settings import Settings

# These look for a new half while they run.
_TAKE_OVER = frozenset({SERVES, APPLIES})

_LOOK_S = 0.1


def hand_over(settings: Settings, half: Half, waits: Callable[[str], None]) -> str | None:
    """Wait for the owner.

    :param half: complete, and not held by this process.
    :param waits: called once with what is waited for.
    :returns: why the half is not taken; None if it is, or if nobody owns `home` any more.
    """
    home = settings.home
    told: int | None = None
    while not half.in_use() and (owner := current_owner(home)) is not None:
        reason = _refused(half, owner) if owner.role in _TAKE_OVER else _goes_on(owner)
        if reason is None and _given_up(settings, half):
            reason = f"{_name(owner)} stopped before it had taken the new index; run `ragsaver migrate` once more"
        if reason is not None:
            return reason
        if owner.pid != told:
            told = owner.pid
            waits(f"the new index is ready; {_name(owner)} takes it")
        time.sleep(_LOOK_S)
    return None


def _refused(half: Half, owner: Owner) -> str | None:
    refusal = half.refusal()
    return refusal and f"the new index is ready, but {_name(owner)} goes on with the old one: {refusal}"


def _goes_on(owner: Owner) -> str | None:
    if not owner.pid:  # it has not said yet who it is
        return None
    return (
        f"the new index is ready, but the old one is held by {_name(owner)}, which goes on with it. "
        "End it and run `ragsaver migrate` once more"
    )


def _given_up(settings: Settings, half: Half) -> bool:
    """Whether the half is not complete any more, and nobody works on it."""
    if half.ready() is not None:
        return False
    try:
        with holding(settings):
            return half.ready() is None and not half.in_use()
    except IndexLocked:
        return False


def _name(owner: Owner) -> str:
    return f"`{owner.role}` (process {owner.pid})"
