"""Which of a shard's points may a search see, and has it to be filtered for that?

The engine asks a filter of each point that a search comes by: two thirds of a search's time. It says nothing where one
scope has all points, none names groups, and all are listed. That is known here and nowhere else: whoever asks can
neither wish it nor prevent it.

New points are named by a file until they are listed, and searches leave those out by their ids. To have each point say
it itself, when it is written and again when it is listed, takes the engine a third of all that filling it takes.
"""

from collections.abc import Collection
from threading import Lock
from typing import NamedTuple

from ragsaver.index.keys import scope_key
from ragsaver.index.scope import Scope
from ragsaver.index.shard import EMPTY
from ragsaver.index.unlisted import UnlistedFile

_NONE: frozenset[str] = frozenset()


class View(NamedTuple):
    """What a search has to leave out. What it found holds if the view is the same when it is done.

    :ivar filtered: false if all points are there for the scope.
    :ivar coming: ids of points of the scope that are not listed yet.
    :ivar mark: another one after each change that matters to such a search.
    """

    filtered: bool
    coming: frozenset[str]
    mark: int


class Sight:
    """What is known of a shard's points. Changes are told before they are written; reads take no lock.

    :param sole: key of the only scope that has points; `EMPTY` if there are none, None if there are several, or points
        that name groups.
    :param unlisted: names the points that no question may find yet.
    """

    def __init__(self, sole: str | None, unlisted: UnlistedFile) -> None:
        self._sole = sole
        self._unlisted = unlisted
        self._changes = 0
        self._turns: dict[str, int] = {}  # how often each scope's coming points changed
        self._changing = Lock()

    def of(self, scope: Scope) -> View:
        """What a search of this scope sees."""
        key, changes = scope_key(scope), self._changes
        turns, coming = self._turns.get(key, 0), self._unlisted.now  # in this order: they change in the other one
        if self._sole == key and not coming:
            return View(filtered=False, coming=_NONE, mark=changes)
        return View(filtered=True, coming=coming.get(key, _NONE), mark=turns)

    def coming(self, scope: Scope) -> frozenset[str]:
        """Points of the scope that are not listed yet."""
        return self._unlisted.now.get(scope_key(scope), _NONE)

    def written(self, scope: Scope, *, grouped: bool) -> None:
        """Points of this scope are about to be written or changed.

        :param grouped: whether some name groups.
        """
        with self._changing:
            alone = not grouped and self._sole in (EMPTY, scope_key(scope))
            self._sole = scope_key(scope) if alone else None
            self._changes += 1

    def comes(self, scope: Scope, points: Collection[str]) -> None:
        """These are about to be written, and not listed yet.

        :raises StorageError: if that can't be noted; they must not be written then.
        """
        with self._changing:
            if points:
                self._turn(scope, self.coming(scope).union(points))

    def listed(self, scope: Scope, points: Collection[str]) -> None:
        """These are listed, or gone, as far as they are of this scope.

        :raises StorageError: if that can't be noted; those that were coming still are.
        """
        with self._changing:
            coming = self.coming(scope)
            if not coming.isdisjoint(points):
                self._turn(scope, coming.difference(points))

    def counted(self, sole: str | None) -> None:
        """What was found in the shard while nobody wrote to it."""
        with self._changing:
            self._sole = sole
            self._changes += 1

    def _turn(self, scope: Scope, coming: frozenset[str]) -> None:
        key = scope_key(scope)
        self._unlisted.write({**self._unlisted.now, key: coming})
        self._turns[key] = self._turns.get(key, 0) + 1
        self._changes += 1
