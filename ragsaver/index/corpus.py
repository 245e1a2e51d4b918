"""Whose words count in the statistics (IDF) that rank a reader's question?

Those of the scope, and of them what the reader's groups may read. The engine keeps the statistics of all its points
and counts any other corpus anew for each question, which takes most of a question's time in a large index. So it is
asked for all of them where that is the same: only one scope was ever written to the shard, and no point of it named
groups. Points that were deleted or changed count for the engine until the shard is optimised: they may be few. The
pointer's file remembers all that.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ragsaver.index.keys import scope_key
from ragsaver.index.scope import Scope
from ragsaver.index.shard import EMPTY, PointerFile

# One point in so many may be left behind: it moves a word's weight by less than a hundredth.
_FEW = 100


class Corpus:
    """What is known of a shard's scopes. Changes come one at a time, before the points are written.

    :param grouped: keys of the scopes where points name groups.
    """

    def __init__(self, grouped: Iterable[str], pointer: PointerFile) -> None:
        self._grouped = set(grouped)
        self._pointer = pointer

    def of(self, scope: Scope) -> Scope | None:
        """Whose words count; None is everybody's, which are the scope's."""
        key = scope_key(scope)
        if self._pointer.now.sole == key:
            return None
        # To ask for groups takes twice the time, and where no point names any it says nothing.
        return scope if key in self._grouped else replace(scope, groups=None)

    def note(self, scope: Scope, *, grouped: bool) -> None:
        """Points of this scope are about to be written; `grouped` if some name groups."""
        key = scope_key(scope)
        if grouped:
            self._grouped.add(key)
        alone = self._pointer.now.sole in (EMPTY, key) and key not in self._grouped
        self._now(sole=key if alone else None)

    def leave(self, points: int) -> None:
        """So many points are about to be deleted or changed."""
        now = self._pointer.now
        if now.sole is not None:
            left = now.left_behind + points
            self._now(left_behind=left, sole=now.sole if left * _FEW <= now.optimised_points else None)

    def _now(self, **changed: Any) -> None:
        pointer = replace(self._pointer.now, **changed)
        if pointer != self._pointer.now:
            self._pointer.write(pointer)


def sole_of(scopes: Iterable[str], grouped: Iterable[str]) -> str | None:
    """The only one of a shard's scopes; None if there are several, or points that name groups."""
    there = set(scopes)
    if any(grouped) or len(there) > 1:
        return None
    return there.pop() if there else EMPTY
