"""Whose document is next? The higher priority's, but never always; within a priority each tenant's in turn.

Each tenant has at most one document in a round of a line; a line is what waits for one stage with one priority. A
document that joins gets the tenant's next round, so a tenant's first document stands behind one of each other tenant,
however many those have. A priority that waits is passed over a few times in a row, and then has a turn.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Priority(StrEnum):
    """How soon a job's documents are worked on."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


# Documents of other lines that go before one that waits: of ten, each lower priority has one.
PASSED_OVER = 9


@dataclass(frozen=True, slots=True)
class Line:
    """How far a line is.

    :ivar round: of the document that was taken last.
    :ivar passed: documents taken from other lines since, while one waited here.
    """

    round: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A document that waits in a line; `tried` if somebody began with it and did not come to an end."""

    document_id: str
    round: int
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The documents that are next, in order, and how far the lines are then."""

    taken: tuple[Place, ...]
    lines: Mapping[Priority, Line]


def next_rounds(line: Line, last: int | None, count: int) -> range:
    """The rounds of documents that join a line together.

    :param last: the last round in which a document of the same tenant waits; None if none does.
    """
    first = max(line.round, last or 0) + 1
    return range(first, first + count)


def next_priority(waiting: Collection[Priority], lines: Mapping[Priority, Line]) -> Priority:
    """Which line has the turn.

    :param waiting: those in which a document waits, one at least.
    """
    patient = [one for one in Priority if one in waiting and lines[one].passed >= PASSED_OVER]
    return patient[0] if patient else next(one for one in Priority if one in waiting)


def choose(
    waiting: Mapping[Priority, Sequence[Place]], lines: Mapping[Priority, Line], limit: int, *, tried_alone: bool
) -> Choice:
    """The next documents, `limit` at most.

    :param waiting: each line's documents by round, then age; the first `limit` of them are enough.
    :param tried_alone: a document that was tried before comes with no other: it may be what ended who tried it.
    """
    left = {one: list(places) for one, places in waiting.items() if places}
    after = dict(lines)
    taken: list[Place] = []
    while left and len(taken) < limit:
        priority = next_priority(left, after)
        place = left[priority][0]
        if tried_alone and taken and (place.tried or taken[0].tried):
            break
        taken.append(place)
        after = {one: Line(line.round, line.passed + 1 if one in left else 0) for one, line in after.items()}
        after[priority] = Line(max(after[priority].round, place.round))
        left[priority].pop(0)
        if not left[priority]:
            del left[priority]
    return Choice(tuple(taken), after)
