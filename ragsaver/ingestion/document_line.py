"""Where is a document, and who is next? Documents wait in lines, are held by who works on them, and move on.

A document moves forward by conditional updates: of two that do the same work the second one changes nothing. Who
works on a document holds it for a while, and when that is over it gets in line again.

No two transactions wait for each other: each locks lines before documents, lines by priority, and of documents either
one, or many by id, or those that nobody else has locked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import chosen, lock, lock_rows
from ragsaver.ingestion.job_report import WAITING, State
from ragsaver.ingestion.job_tables import ROWS
from ragsaver.ingestion.job_tables import documents as _documents
from ragsaver.ingestion.job_tables import lines as _lines
from ragsaver.ingestion.manifest import now
from ragsaver.ingestion.notes import Note, to_values
from ragsaver.ingestion.queued_document import QueuedDocument
from ragsaver.ingestion.text_tokens import TextTokens
from ragsaver.ingestion.turns import Choice, Line, Place, Priority, choose, next_rounds
from ragsaver.spend.budgets import Account

# `due_at` of a document in line for which there is no message.
_UNTOLD = 0.0

_IN_LINE = _documents.c.round.isnot(None)
_AWAY = _documents.c.round.is_(None)

_TOKENS_BY_NOW = _documents.c.tokens + sa.bindparam("more", type_=sa.Integer)


class DocumentLine:
    """The documents on their way, in the job store's database. Made by the store."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def claim(self, state: State, holder: str, *, limit: int, lease_s: float) -> list[QueuedDocument]:
        """Hold the documents whose turn it is for a while, `limit` at most; none if none waits.

        A document that was tried before comes alone.
        """
        with self._writing() as connection:
            choice = _next(connection, state, limit, tried_alone=True)
            values = {
                "holder": holder,
                "round": None,
                "due_at": now() + lease_s,
                "attempts": _documents.c.attempts + 1,
            }
            claimed: list[sa.Row[Any]] = []
            for place in choice.taken:  # one by one: of many SQLite would look through all that are in this state
                mine = (_documents.c.id == place.document_id, _documents.c.state == state, _IN_LINE)
                take = sa.update(_documents).where(*mine).values(values).returning(_documents)
                claimed += connection.execute(take).all()
        return [QueuedDocument.of(row) for row in claimed]

    def ready(self, limit: int) -> list[QueuedDocument]:
        """The documents whose turn it is to be brought in; nobody holds them: the index has one
        owner, or a turn for each tenant.
        """
        self.line_up(State.EMBEDDED)
        with self._writing() as connection:
            choice = _next(connection, State.EMBEDDED, limit, tried_alone=False)
            ids = [place.document_id for place in choice.taken]
            rows = connection.execute(sa.select(_documents).where(_documents.c.id.in_(ids))).all()
        by_id = {row.id: QueuedDocument.of(row) for row in rows}
        return [by_id[one] for one in ids if one in by_id]

    def still(self, state: State, document_ids: Sequence[str]) -> set[str]:
        """Those of the documents that are in a state."""
        found: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(document_ids), ROWS):
                some = _documents.c.id.in_(document_ids[start : start + ROWS])
                found.update(connection.scalars(sa.select(_documents.c.id).where(some, _documents.c.state == state)))
        return found

    def forward(
        self,
        document_id: str,
        before: State,
        after: State,
        *,
        lease_s: float = 0.0,
        staged: bytes | None = None,
        error: str | None = None,
        notes: Sequence[Note] = (),
    ) -> bool:
        """Move a document on; false if somebody else did, or it was dropped. Whoever does it may have lost its hold:
        the work is the same.

        :param lease_s: after which its message is taken for lost, if it waits for one.
        :param staged: kept for those after us; None leaves what there is.
        :param notes: of what it lost, once it is in.
        """
        values: dict[str, Any] = {
            "state": after,
            "holder": None,
            "round": None,
            "due_at": now() + lease_s,
            "error": error,
            "notes": to_values(notes) or None,
        }
        if staged is not None:
            values["staged"] = staged
        if after in (State.APPLIED, State.UNCHANGED):
            values |= {"staged": None, "text": None}
        at = (_documents.c.id == document_id, _documents.c.state == before)
        with self._writing() as connection:
            if after in WAITING:
                whose = sa.select(_documents.c.tenant, _documents.c.priority).where(*at)
                row = connection.execute(whose).first()
                if row is None:
                    return False
                (place,) = join_line(connection, after, row.tenant, row.priority, 1)
                # One that is cut again had its attempts, or it would go round and round.
                again = sa.and_(_documents.c.state == State.QUEUED, _documents.c.staged.is_not(None))
                values |= {"attempts": sa.case((again, _documents.c.attempts), else_=0), "round": place}
            return connection.execute(sa.update(_documents).where(*at).values(values)).rowcount == 1

    def embedded(self, tokens: Mapping[str, int]) -> None:
        """Texts were embedded for documents: so many tokens more, by the documents' ids. Those that were dropped are
        passed over.
        """
        self._bill({"tokens": _TOKENS_BY_NOW}, {one: {"more": count} for one, count in tokens.items() if count})

    def spent(self, document_ids: Sequence[str]) -> dict[Account, int]:
        """Tokens that were embedded so far, by who pays for which document."""
        asked = sa.select(_documents.c.tenant, _documents.c.id, _documents.c.tokens)
        found: dict[Account, int] = {}
        with self._reading() as connection:
            for start in range(0, len(document_ids), ROWS):
                some = _documents.c.id.in_(document_ids[start : start + ROWS])
                rows = connection.execute(asked.where(some, _documents.c.tokens > 0))
                found |= {Account(row.tenant, request_id=row.id): int(row.tokens) for row in rows}
        return found

    def took(self, texts: Mapping[str, TextTokens]) -> None:
        """What the texts of documents took, by the documents' ids. What was not embedded for a document in this job had
        been embedded before.
        """
        before = sa.bindparam("total", type_=sa.Integer) - _TOKENS_BY_NOW
        values = {"tokens": _TOKENS_BY_NOW, "cached_tokens": sa.case((before > 0, before), else_=0)}
        self._bill(values, {one: {"more": took.embedded, "total": took.total} for one, took in texts.items()})

    def _bill(self, values: Mapping[str, Any], documents: Mapping[str, Mapping[str, int]]) -> None:
        """
        :param documents: what the values are made of, by the documents' ids.
        """
        rows = [{"of": one, **more} for one, more in sorted(documents.items())]
        if rows:
            statement = sa.update(_documents).where(_documents.c.id == sa.bindparam("of")).values(values)
            with self._writing() as connection:
                connection.execute(statement, rows)

    def put_back(
        self, document_id: str, holder: str, *, wait_s: float, error: str | None, tried: bool, anew: bool = False
    ) -> None:
        """Let go of a document, to get in line again after a while.

        :param tried: whether this counts as an attempt.
        :param anew: whether it has to be cut again.
        """
        values: dict[str, Any] = {"holder": None, "due_at": now() + wait_s}
        if anew:
            values["state"] = State.QUEUED
        if error is not None:
            values["error"] = error
        if not tried:
            values["attempts"] = _documents.c.attempts - 1
        with self._writing() as connection:
            held = (_documents.c.id == document_id, _documents.c.holder == holder)
            connection.execute(sa.update(_documents).where(*held).values(values))

    def restart(self, document_id: str) -> None:
        """Begin again with a staged document that was cut by settings that hold no more."""
        with self._writing() as connection:
            restart(connection, _documents.c.id == document_id, _documents.c.state == State.EMBEDDED)

    def not_applied(self, document_id: str, error: str, *, wait_s: float, max_attempts: int | None = None) -> bool:
        """A document that could not be applied waits for a while.

        :param max_attempts: after which it is dead: then true. None if this was no attempt.
        """
        attempts = _documents.c.attempts + int(max_attempts is not None)
        dead = sa.false() if max_attempts is None else attempts >= max_attempts
        values = {
            "attempts": attempts,
            "error": error,
            "round": None,
            "due_at": sa.case((dead, now()), else_=now() + wait_s),
            "state": sa.case((dead, State.DEAD.value), else_=State.EMBEDDED.value),
        }
        with self._writing() as connection:
            at = (_documents.c.id == document_id, _documents.c.state == State.EMBEDDED)
            statement = sa.update(_documents).where(*at).values(values)
            state: str | None = connection.scalar(statement.returning(_documents.c.state))
        return state == State.DEAD

    def hold_on(self, holders: Sequence[str], lease_s: float) -> None:
        """These hold what they hold for longer."""
        with self._writing() as connection:
            held = _documents.c.holder.in_(holders)
            lock(connection, _documents.c.id, held)
            connection.execute(sa.update(_documents).where(held).values(due_at=now() + lease_s))

    # Messages: each says only that a document waits

    def bury(self, state: State, max_attempts: int) -> int:
        """Documents that were tried so often by workers that never came back are dead; how many."""
        worn = (*_overdue(state), _documents.c.attempts >= max_attempts)
        if not self._any(*worn):
            return 0
        why = sa.func.coalesce(_documents.c.error, "each worker that tried it died or hung")
        with self._writing() as connection:
            values = {"state": State.DEAD, "holder": None, "error": why, "due_at": now()}
            lock(connection, _documents.c.id, *worn)
            return connection.execute(sa.update(_documents).where(*worn).values(values)).rowcount

    def line_up(self, state: State, max_attempts: int | None = None) -> None:
        """Put overdue documents at the end of their tenants' lines; they have no messages yet.

        :param max_attempts: what was tried so often stays away, to be buried; None where trying is counted otherwise.
        """
        overdue = _overdue(state)
        if max_attempts is not None:  # a hold may have ended since somebody looked for what is to be buried
            overdue += (_documents.c.attempts < max_attempts,)
        if not self._any(*overdue):
            return
        whose = (_documents.c.tenant, _documents.c.priority)
        order = (_documents.c.due_at, _documents.c.created_at, _documents.c.number)
        some = sa.select(_documents.c.id, *whose).where(*overdue).order_by(*order).limit(ROWS)
        some = some.with_for_update(skip_locked=True)
        with self._writing() as connection:
            _lock(connection, state)
            late: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
            for document_id, tenant, priority in connection.execute(some).all():
                late[tenant, priority].append(document_id)
            places: list[dict[str, Any]] = []
            for (tenant, priority), ids in late.items():
                rounds = join_line(connection, state, tenant, priority, len(ids))
                places += [{"of": one, "place": place} for one, place in zip(ids, rounds, strict=True)]
            if places:
                values: dict[str, Any] = {"round": sa.bindparam("place"), "holder": None, "due_at": _UNTOLD}
                still = (_documents.c.id == sa.bindparam("of"), _documents.c.state == state, _AWAY)
                connection.execute(sa.update(_documents).where(*still).values(values), places)

    def late(self, state: State) -> int:
        """Documents in line that had a message, and nothing happened to them in time."""
        told = (_documents.c.due_at > _UNTOLD, _documents.c.due_at <= now())
        with self._reading() as connection:
            return count(connection, _documents.c.state == state, *told, _IN_LINE)

    def to_send(self, state: State, *, lease_s: float, lost: bool) -> int:
        """How many messages are missing, 1000 at most; told to one caller, who sends them at once.

        :param lease_s: after which they are taken for lost.
        :param lost: also those of documents that had one once.
        """
        untold = (_documents.c.state == state, _documents.c.due_at <= (now() if lost else _UNTOLD), _IN_LINE)
        if not self._any(*untold):
            return 0
        some = sa.select(_documents.c.id).where(*untold).order_by(_documents.c.due_at).limit(ROWS)
        with self._writing() as connection:
            _lock(connection, state)
            told = sa.update(_documents).where(_documents.c.id.in_(chosen(some))).values(due_at=now() + lease_s)
            return len(connection.execute(told.returning(_documents.c.id)).all())

    def unsend(self, state: State, count: int) -> None:
        """So many messages did not reach anybody who begins with a document."""
        told = (_documents.c.state == state, _documents.c.due_at > _UNTOLD, _IN_LINE)
        some = sa.select(_documents.c.id).where(*told).limit(count)
        with self._writing() as connection:
            _lock(connection, state)
            connection.execute(sa.update(_documents).where(_documents.c.id.in_(chosen(some))).values(due_at=_UNTOLD))

    def waiting(self, state: State) -> int:
        """Documents in a state."""
        with self._reading() as connection:
            return count_waiting(connection, state)

    def more_waiting_than(self, number: int) -> bool:
        """Whether more documents are on their way."""
        with self._reading() as connection:
            return count_waiting(connection, *WAITING) > number

    def backlog(self) -> dict[State, tuple[int, float]]:
        """By state, the documents that wait and that nobody holds: how many, and when the oldest was given.

        Answered from indexes, whatever the documents hold.

        :raises StorageError: if it can't be read.
        """
        told = sa.select(_documents.c.state, sa.func.count(), sa.func.min(_documents.c.created_at))
        found: dict[State, tuple[int, float]] = {}
        with self._reading() as connection:
            # Each half has its own index; one that is in line is held by nobody.
            for half in ((_IN_LINE,), (_AWAY, _documents.c.holder.is_(None))):
                query = told.where(_documents.c.state.in_(WAITING), *half).group_by(_documents.c.state)
                for name, number, oldest in connection.execute(query).all():
                    before, first = found.get(State(name), (0, oldest))
                    found[State(name)] = (before + number, min(first, oldest))
        return found

    def _any(self, *where: sa.ColumnElement[bool]) -> bool:
        with self._reading() as connection:
            return (
                connection.scalar(sa.select(sa.literal(1)).select_from(_documents).where(*where).limit(1)) is not None
            )


def join_line(connection: sa.Connection, state: State, tenant: str, priority: str, count: int) -> range:
    """The rounds in which so many of a tenant's documents wait for a stage. To be written in the same transaction."""
    line = _lock(connection, state, priority)[Priority(priority)]
    of_tenant = (_documents.c.tenant == tenant, _documents.c.state == state, _documents.c.priority == priority)
    last = connection.scalar(sa.select(sa.func.max(_documents.c.round)).where(*of_tenant))
    return next_rounds(line, last, count)


def count(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> int:
    """How many documents there are of a kind."""
    return connection.scalar(sa.select(sa.func.count()).select_from(_documents).where(*where)) or 0


def count_waiting(connection: sa.Connection, *states: State) -> int:
    """Documents in these states; each half has its own index."""
    return sum(count(connection, _documents.c.state.in_(states), half) for half in (_IN_LINE, _AWAY))


def restart(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> int:
    """Begin again with documents; how many those are."""
    lock(connection, _documents.c.id, *where)
    values = {"state": State.QUEUED, "attempts": 0, "holder": None, "round": None, "due_at": now(), "staged": None}
    return connection.execute(sa.update(_documents).where(*where).values(values)).rowcount


def _next(connection: sa.Connection, state: State, limit: int, *, tried_alone: bool) -> Choice:
    """The documents whose turn it is; their lines have moved on."""
    lines = _lock(connection, state)
    waiting = {priority: _heads(connection, state, priority, limit) for priority in Priority}
    choice = choose(waiting, lines, limit, tried_alone=tried_alone)
    for priority, line in choice.lines.items():
        if line != lines[priority]:
            at = (_lines.c.state == state, _lines.c.priority == priority)
            connection.execute(sa.update(_lines).where(*at).values(round=line.round, passed=line.passed))
    return choice


def _heads(connection: sa.Connection, state: State, priority: Priority, limit: int) -> list[Place]:
    query = (
        sa.select(_documents.c.id, _documents.c.round, _documents.c.attempts)
        .where(_documents.c.state == state, _documents.c.priority == priority, _IN_LINE)
        .order_by(_documents.c.round, _documents.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [Place(row.id, row.round, row.attempts > 0) for row in connection.execute(query).all()]


def _lock(connection: sa.Connection, state: State, priority: str | None = None) -> Mapping[Priority, Line]:
    """A stage's lines; they stay as they are for others until this transaction ends."""
    where = [_lines.c.state == state]
    if priority is not None:
        where.append(_lines.c.priority == priority)
    rows = lock_rows(connection, _lines, _lines.c.priority, *where)
    return {Priority(row.priority): Line(row.round, row.passed) for row in rows}


def _overdue(state: State) -> tuple[sa.ColumnElement[bool], ...]:
    return _documents.c.state == state, _documents.c.due_at <= now(), _AWAY
