"""Which documents do questions use most? Their outlines make a text that stays the same from question to question.

Which they are is decided seldom, and they stand in the order of their sources: a new favourite changes the text once,
not with each question. A document that was edited, deleted or closed to the reader changes it at once: its chunks are
looked up in the index each time.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ragsaver.index.scope import Scope

# So many uses are remembered for a reader; then all count half.
_REMEMBERED = 1000
# Readers that are remembered; whoever asked longest ago goes first.
_READERS = 1000
# Beginnings of prompts that are remembered for a reader; what was sent longest ago goes first.
_BEGINNINGS = 16


class Outlined(NamedTuple):
    """A document's outline as text, and the points of the chunks that it was made from."""

    document_id: str
    source: str
    text: str
    points: tuple[str, ...]


# Outlines of some documents, each of at most so many tokens; what has none is left out.
ReadOutlines = Callable[[Scope, Sequence[str], int], Sequence[Outlined]]


@dataclass(slots=True)
class _Reader:
    """What one reader's questions used, and what stands in front of them."""

    uses: Counter[str] = field(default_factory=Counter)
    chosen_at: float | None = None
    asked_at: dict[Hashable, float] = field(default_factory=dict)
    favourites: tuple[str, ...] = ()
    block: tuple[Outlined, ...] = ()


class Favourites:
    """Which documents do a reader's questions use most? Kept in memory; readers of other groups have their own.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._readers: dict[Scope, _Reader] = {}
        self._read: ReadOutlines | None = None

    def read_from(self, read: ReadOutlines) -> None:
        """Where outlines come from; without it there are none."""
        self._read = read

    def note(self, scope: Scope, document_ids: Sequence[str]) -> None:
        """A question used these documents."""
        if self._read is None:
            return
        with self._lock:
            uses = self._of(scope).uses
            uses.update(dict.fromkeys(filter(None, document_ids), 1))
            if uses.total() > _REMEMBERED:
                for one in list(uses):
                    uses[one] //= 2
                    if not uses[one]:
                        del uses[one]

    def forget(self) -> None:
        """All uses, and what was chosen by them."""
        with self._lock:
            self._readers.clear()

    def block(
        self,
        scope: Scope,
        *,
        documents: int,
        tokens: int,
        every_s: float,
        stands: Callable[[Sequence[str]], bool],
        behind: Hashable = None,
    ) -> tuple[tuple[Outlined, ...], float | None]:
        """The outlines in front of a reader's question.

        :param documents: how many, at most.
        :param tokens: of all of them.
        :param every_s: other documents take their place no more often.
        :param stands: whether all of these points are there for the reader.
        :param behind: what stands in front of them, as far as it differs from question to question.
        :returns: them, and how many seconds ago the same text was asked for behind the same; None if it never was.
        """
        if self._read is None:
            return (), None
        now = self._clock()
        with self._lock:
            reader = self._of(scope)
            due = reader.chosen_at is None or now - reader.chosen_at >= every_s
            if due or len(reader.favourites) < documents:
                best = sorted(reader.uses.items(), key=lambda use: (-use[1], use[0]))[:documents]
                chosen = tuple(sorted(one for one, _ in best))
                due = due or chosen != reader.favourites
                reader.favourites = chosen
            before, asked_at, favourites = reader.block, reader.asked_at.get(behind), reader.favourites
        if due or not stands([point for one in before for point in one.points]):
            found = self._read(scope, favourites, tokens // max(documents, 1)) if favourites else ()
            after = tuple(sorted((one for one in found if stands(one.points)), key=lambda one: one.source))
        else:
            after = before
        with self._lock:
            if due:
                reader.chosen_at = now
            if after != reader.block:
                reader.asked_at.clear()
            reader.block = after
            reader.asked_at.pop(behind, None)
            reader.asked_at[behind] = now
            if len(reader.asked_at) > _BEGINNINGS:
                del reader.asked_at[next(iter(reader.asked_at))]
        return after, None if asked_at is None or after != before else now - asked_at

    def _of(self, scope: Scope) -> _Reader:
        reader = self._readers.pop(scope, None) or _Reader()
        self._readers[scope] = reader
        if len(self._readers) > _READERS:
            del self._readers[next(iter(self._readers))]
        return reader
