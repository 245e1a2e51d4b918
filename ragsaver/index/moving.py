"""Move an index between the embedded engine and a server: points go as they are kept, and nothing is embedded.

What the other side has already is not sent again, so a move that was stopped goes on where it was.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ragsaver.errors import ModelMismatch, StorageError, UsageError
from ragsaver.index.identity import OF_WORDS, IndexIdentity
from ragsaver.index.protocol import StoredPoint, VectorIndex
from ragsaver.index.scope import Scope


@dataclass(frozen=True, slots=True)
class MovedScope:
    """What became of one tenant's collection.

    :ivar points: that both sides have now.
    :ivar copied: that were missing, or differed.
    :ivar unchanged: that were there.
    :ivar removed: that only the other side had.
    """

    tenant: str
    collection: str
    points: int
    copied: int
    unchanged: int
    removed: int


@dataclass(frozen=True, slots=True)
class LeftScope:
    """A collection that only the other side has, and that was left alone there."""

    tenant: str
    collection: str
    points: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move took."""

    scopes: tuple[MovedScope, ...]
    left: tuple[LeftScope, ...]
    seconds: float

    @property
    def points(self) -> int:
        """That both sides have now, of all tenants."""
        return sum(one.points for one in self.scopes)


def require_alike(source: IndexIdentity, target: IndexIdentity | None, *, where: str, remedy: str) -> None:
    """:raises ModelMismatch: if the target is there and was built otherwise: its vectors can't be compared."""
    if target is None or target == source:
        return
    if (source.fingerprint, source.dim) != (target.fingerprint, target.dim):
        of_target, of_source = (f"`{one.model_name}` ({one.fingerprint[:12]})" for one in (target, source))
        problem = f"the index there was built by model {of_target}, what is to be moved by {of_source}"
    else:
        problem = f"the index there was built with another {OF_WORDS} or format"
    raise ModelMismatch(problem, where=where, remedy=remedy)


def move(
    source: VectorIndex,
    target: VectorIndex,
    turn: Callable[[str], AbstractContextManager[None]],
    *,
    prune: bool = False,
    is_emptied: Callable[[Scope], bool] = lambda scope: False,
    progress: Callable[[int], None] = lambda points: None,
) -> Moved:
    """Make the target's points of every scope that the source has, or has emptied, the same as the source's.

    What else the target has is left alone: it may be somebody else's, or the source may have lost it.

    :param turn: keeps others from changing a tenant's documents meanwhile.
    :param prune: remove points of these scopes that only the target has.
    :param is_emptied: tells of a scope that only the target has whether the source had it and nothing of it is to be.
    :param progress: told how many points were looked at.
    :raises UsageError: without `prune`, if there are such points; nothing of their scope was copied.
    :raises StorageError: if the two differ in the end: somebody wrote meanwhile.
    """
    started = time.perf_counter()
    moved, left = [], []
    here = source.scopes()
    for scope in here:
        with turn(scope.tenant):
            moved.append(_move(source, target, scope, prune, progress))
    for scope in target.scopes():
        if scope in here:
            continue
        with turn(scope.tenant):
            if is_emptied(scope):
                moved.append(_move(source, target, scope, prune, progress))
            else:
                left.append(LeftScope(scope.tenant, scope.collection, target.count(scope)))
    target.flush()
    return Moved(tuple(moved), tuple(left), time.perf_counter() - started)


def _move(
    source: VectorIndex, target: VectorIndex, scope: Scope, prune: bool, progress: Callable[[int], None]
) -> MovedScope:
    name = f"{scope.tenant}/{scope.collection}"
    here = dict(source.ids(scope))
    extra = [one for one, _ in target.ids(scope) if one not in here]
    if extra and not prune:
        raise UsageError(
            f"{len(extra)} points are there that are not to be moved",
            where=name,
            remedy="`--prune` removes them: the documents they are of must be nobody's any more",
        )
    copied = 0
    for points in source.stored(scope):
        lacking = _lacking(target, scope, points)
        target.restore(scope, lacking)
        copied += len(lacking)
        progress(len(points))
    target.list_and_delete(scope, [], extra)
    there = dict(target.ids(scope))
    if there != here:
        raise StorageError(
            f"{len(here)} points were to be moved, and {len(there)} are there or listed otherwise",
            where=name,
            remedy="End what writes to either of them and run the command again: it goes on where it was",
        )
    return MovedScope(scope.tenant, scope.collection, len(here), copied, len(here) - copied, len(extra))


def _lacking(target: VectorIndex, scope: Scope, points: Sequence[StoredPoint]) -> list[StoredPoint]:
    """A point's id says what was embedded; what it carries besides may have changed."""
    there = target.payloads(scope, [one.id for one in points])
    return [one for one in points if there.get(one.id) != one.payload]
