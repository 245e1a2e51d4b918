"""Has a search to be filtered? Not where every point of the shard is there for whoever asks.

The engine asks a filter of each point that a search comes by: two thirds of a search's time. It says nothing where one
scope has all points, none names groups, and all are listed. That is known here and nowhere else: whoever asks can
neither wish it nor prevent it.
"""

from collections.abc import Iterable, Mapping
from threading import Lock

from ragsaver.index.keys import scope_key
from ragsaver.index.scope import Scope
from ragsaver.index.shard import EMPTY


class Sight:
    """What is known of a shard's points. Changes are told before they are written; reads take no lock.

    :param sole: key of the only scope that has points; `EMPTY` if there are none, None if there are several, or points
        that name groups.
    :param unlisted: points that no question may find, each with the key of its scope.
    """

    def __init__(self, sole: str | None, unlisted: Mapping[str, str]) -> None:
        self._sole = sole
        self._unlisted = dict(unlisted)
        self._changes = 0
        self._changing = Lock()

    def mark(self, scope: Scope) -> int | None:
        """A mark, if all points are there for this scope; None where a search needs its filter.

        What a search without a filter found holds if the mark is the same when it is done.
        """
        mark = self._changes
        return mark if self._sole == scope_key(scope) and not self._unlisted else None

    def written(self, scope: Scope, unlisted: Iterable[str] = (), *, grouped: bool) -> None:
        """Points of this scope are about to be written or changed.

        :param unlisted: those that no question may find yet.
        :param grouped: whether some name groups.
        """
        with self._changing:
            self._unlisted.update(dict.fromkeys(unlisted, scope_key(scope)))
            if grouped or self._sole not in (EMPTY, scope_key(scope)):
                self._sole = None
            else:
                self._sole = scope_key(scope)
            self._changes += 1

    def counted(self, sole: str | None) -> None:
        """What was found in the shard while nobody wrote to it."""
        with self._changing:
            self._sole = sole
            self._changes += 1

    def listed(self, scope: Scope, points: Iterable[str]) -> None:
        """These are listed, or gone, as far as they are of this scope."""
        key = scope_key(scope)
        with self._changing:
            for point in points:
                if self._unlisted.get(point) == key:
                    del self._unlisted[point]
