"""What is on its way in? Jobs and their documents in a SQLite file or PostgreSQL, so that any worker may die at
any time.

A document moves forward by conditional updates: of two that do the same work the second one changes nothing. Who
works on a document holds it for a while, and when that is over another may take it.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ragsaver.database import Place, open_database
from ragsaver.dialects import AnyText, LongInteger, Words, insert, lock, write_rows
from ragsaver.errors import QueueFull
from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import LOST, WAITING, JobDocument, JobReport, State, counted, job_state
from ragsaver.ingestion.manifest import now
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.report import EmbeddingSpend, IngestFailure
from ragsaver.ingestion.sources import PostedDocument, SourceItem

SCHEMA = 1

_ROWS = 1000

_metadata = sa.MetaData()

_jobs = sa.Table(
    "jobs",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("listed", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
)

_documents = sa.Table(
    "documents",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("location", sa.String),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("format", sa.String),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("text", AnyText),
    sa.Column("checksum", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", Words),
    sa.Column("holder", sa.String),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("sent", sa.Boolean, nullable=False),
    sa.Column("staged", sa.LargeBinary),
    sa.Column("tokens", LongInteger, nullable=False),
    sa.UniqueConstraint("job_id", "number"),
    sa.Index("documents_waiting", "state", "due_at"),
    sa.Index("documents_free", "state", "holder", "created_at"),
)

_texts = sa.Table(
    "texts",
    _metadata,
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("hash", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document of a job before it is read.

    :ivar text: its text, where the caller gave that.
    :ivar state: where it starts; with `staged` or `error` if that is not at the beginning.
    """

    source: str
    location: str | None = None
    version: str = ""
    format: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    checksum: bool = False
    state: State = State.QUEUED
    staged: bytes | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedDocument:
    """A document that somebody works on: `attempts` counts this one, `created_at` is when it was given."""

    id: str
    job_id: str
    scope: Scope
    source: str
    location: str | None
    version: str
    format: str | None
    metadata: Mapping[str, Any]
    text: str | None
    checksum: bool
    created_at: float
    attempts: int
    staged: bytes | None

    def item(self) -> SourceItem | None:
        """The document as it was posted; None if it is read from where it lies."""
        if self.text is None:
            return None
        return PostedDocument(self.source, self.text, self.format, self.metadata).item()


class JobStore:
    """Jobs, in one SQLite file or a schema of PostgreSQL.

    :raises StorageError: if it can't be opened or written.
    """

    def __init__(self, place: Place) -> None:
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._database = open_database(place, "the jobs", "Free some space or check the folder's rights")
        self._reading, self._writing = self._database.reading, self._database.writing
        self._database.set_up((_metadata,), SCHEMA, "Delete the file, or the schema, and queue the documents again")

    # Jobs

    def create(self, scope: Scope, order: IngestOrder | None, max_waiting: int) -> str:
        """Begin a job; returns its id.

        :param order: what was asked for; None where the documents were given as text.
        :raises QueueFull: if `max_waiting` documents or more wait already.
        """
        job_id = uuid.uuid4().hex
        with self._writing() as connection:
            values = {
                "id": job_id,
                "tenant": scope.tenant,
                "collection": scope.collection,
                "order": order.model_dump(mode="json") if order else {},
                "listed": False,
                "created_at": now(),
            }
            connection.execute(sa.insert(_jobs).values(values))
            waiting = connection.scalar(
                sa.select(sa.func.count()).select_from(_documents).where(_documents.c.state.in_(WAITING))
            )
            if waiting is not None and waiting >= max_waiting:
                raise QueueFull(
                    f"{waiting} documents wait already, {max_waiting} may",
                    remedy="Try again later, start more workers, or raise `queue.max_waiting_documents`",
                )
        return job_id

    def add(self, job_id: str, documents: Sequence[NewDocument], *, first: int, lease_s: float) -> list[str]:
        """Add documents to a job; returns the ids of those to read, whose messages the caller sends at once.

        :param first: how many the job has already.
        :param lease_s: after which a document is taken for forgotten.
        """
        ids: list[str] = []
        with self._writing() as connection:
            kept = sa.select(_jobs).where(_jobs.c.id == job_id).with_for_update(read=True, key_share=True)
            job = connection.execute(kept).one()
            rows = [
                {
                    "id": f"{job_id}-{number}",
                    "job_id": job_id,
                    "number": number,
                    "tenant": job.tenant,
                    "collection": job.collection,
                    "source": one.source,
                    "location": one.location,
                    "version": one.version,
                    "format": one.format,
                    "metadata": dict(one.metadata),
                    "text": one.text,
                    "checksum": one.checksum,
                    "created_at": job.created_at,
                    "state": one.state,
                    "attempts": 0,
                    "error": one.error,
                    "holder": None,
                    "due_at": now() + (lease_s if one.state is State.QUEUED else 0.0),
                    "sent": True,
                    "staged": one.staged,
                    "tokens": 0,
                }
                for number, one in enumerate(documents, first)
            ]
            for start in range(0, len(rows), _ROWS):
                write_rows(connection, sa.insert(_documents), rows[start : start + _ROWS])
            ids.extend(row["id"] for row in rows if row["state"] == State.QUEUED)
        return ids

    def listed(self, job_id: str) -> None:
        """All documents of the job are known."""
        with self._writing() as connection:
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(listed=True))

    def drop(self, job_id: str, tenant: str) -> bool:
        """Forget a job and what of it still waits; what went in stays in. False if there is none."""
        with self._writing() as connection:
            of_tenant = (_jobs.c.id == job_id, _jobs.c.tenant == tenant)
            gone = connection.execute(sa.delete(_jobs).where(*of_tenant)).rowcount == 1
            if gone:
                lock(connection, _documents.c.id, _documents.c.job_id == job_id)
                connection.execute(sa.delete(_documents).where(_documents.c.job_id == job_id))
        return gone

    def retry(self, job_id: str, tenant: str) -> int:
        """Begin again with the documents that failed or are dead; how many those are."""
        return self._restart(_documents.c.job_id == job_id, _documents.c.tenant == tenant, _documents.c.state.in_(LOST))

    def restart(self, document_id: str) -> None:
        """Begin again with a staged document that was cut by settings that hold no more."""
        self._restart(_documents.c.id == document_id, _documents.c.state == State.EMBEDDED)

    def report(
        self, job_id: str, tenant: str, usd_per_tok: Decimal, *, limit: int = 1000, offset: int = 0
    ) -> JobReport | None:
        """A job with a page of its documents; None if the tenant has no such job."""
        with self._reading() as connection:
            of_tenant = (_jobs.c.id == job_id, _jobs.c.tenant == tenant)
            job = connection.execute(sa.select(_jobs).where(*of_tenant)).first()
            if job is None:
                return None
            shown = (_documents.c.source, _documents.c.state, _documents.c.attempts, _documents.c.error)
            query = sa.select(*shown).where(_documents.c.job_id == job_id).order_by(_documents.c.number)
            page = connection.execute(query.limit(limit).offset(offset)).all()
            lost = connection.execute(query.where(_documents.c.state.in_(LOST))).all()
            summary = self._summary(connection, job, usd_per_tok)
        return summary.model_copy(
            update={
                "progress": tuple(
                    JobDocument(source=row.source, state=row.state, attempts=row.attempts, error=row.error)
                    for row in page
                ),
                "errors": tuple(IngestFailure(source=row.source, error=row.error or "") for row in lost),
            }
        )

    def reports(self, tenant: str, usd_per_tok: Decimal, *, limit: int = 100) -> list[JobReport]:
        """The newest jobs of a tenant, without their documents."""
        query = sa.select(_jobs).where(_jobs.c.tenant == tenant).order_by(_jobs.c.created_at.desc()).limit(limit)
        with self._reading() as connection:
            return [self._summary(connection, job, usd_per_tok) for job in connection.execute(query).all()]

    # Documents on their way

    def claim(
        self, document_id: str, state: State, holder: str, *, lease_s: float, max_attempts: int
    ) -> QueuedDocument | None:
        """Hold a document for a while; None if it is not in that state any more, or another holds it.

        A document that was tried `max_attempts` times by workers that never came back is dead.
        """
        free = (
            _documents.c.id == document_id,
            _documents.c.state == state,
            sa.or_(_documents.c.holder.is_(None), _documents.c.due_at <= now()),
        )
        with self._writing() as connection:
            worn = (*free, _documents.c.attempts >= max_attempts)
            why = sa.func.coalesce(_documents.c.error, "each worker that tried it died")
            connection.execute(sa.update(_documents).where(*worn).values(state=State.DEAD, holder=None, error=why))
            values = {"holder": holder, "due_at": now() + lease_s, "attempts": _documents.c.attempts + 1, "sent": True}
            row = connection.execute(sa.update(_documents).where(*free).values(values).returning(_documents)).first()
        return _queued(row) if row else None

    def forward(
        self,
        document_id: str,
        before: State,
        after: State,
        *,
        lease_s: float = 0.0,
        staged: bytes | None = None,
        error: str | None = None,
        tokens: int = 0,
    ) -> bool:
        """Move a document on; false if somebody else did, or it was dropped. Whoever does it may have lost its hold:
        the work is the same.

        :param staged: kept for those after us; None leaves what there is.
        :param tokens: that were embedded for it.
        """
        values: dict[str, Any] = {
            "state": after,
            "holder": None,
            "due_at": now() + lease_s,
            "sent": True,
            "error": error,
            "tokens": _documents.c.tokens + tokens,
        }
        if after in WAITING:
            values["attempts"] = 0
        if staged is not None:
            values["staged"] = staged
        if after in (State.APPLIED, State.UNCHANGED):
            values |= {"staged": None, "text": None}
        with self._writing() as connection:
            at = (_documents.c.id == document_id, _documents.c.state == before)
            return connection.execute(sa.update(_documents).where(*at).values(values)).rowcount == 1

    def put_back(self, document_id: str, holder: str, *, wait_s: float, error: str | None, tried: bool) -> None:
        """Let go of a document, to be sent again after a while.

        :param tried: whether this counts as an attempt.
        """
        values: dict[str, Any] = {"holder": None, "due_at": now() + wait_s, "sent": False}
        if error is not None:
            values["error"] = error
        if not tried:
            values["attempts"] = _documents.c.attempts - 1
        with self._writing() as connection:
            held = (_documents.c.id == document_id, _documents.c.holder == holder)
            connection.execute(sa.update(_documents).where(*held).values(values))

    def unsend(self, document_ids: Sequence[str]) -> None:
        """Documents whose messages were taken by somebody who does not begin with them any more."""
        free = (_documents.c.id.in_(document_ids), _documents.c.holder.is_(None), _documents.c.state.in_(WAITING))
        with self._writing() as connection:
            lock(connection, _documents.c.id, *free)
            connection.execute(sa.update(_documents).where(*free).values(sent=False, due_at=now()))

    def hold_on(self, holders: Sequence[str], lease_s: float) -> None:
        """These hold what they hold for longer."""
        until = now() + lease_s
        with self._writing() as connection:
            lock(connection, _documents.c.id, _documents.c.holder.in_(holders))
            connection.execute(sa.update(_documents).where(_documents.c.holder.in_(holders)).values(due_at=until))
            lock(connection, _texts.c.hash, _texts.c.holder.in_(holders))
            connection.execute(sa.update(_texts).where(_texts.c.holder.in_(holders)).values(until=until))

    def tried(self, document_ids: Sequence[str]) -> set[str]:
        """Those of the documents that somebody tried before, without an end."""
        query = sa.select(_documents.c.id).where(_documents.c.id.in_(document_ids), _documents.c.attempts > 0)
        with self._reading() as connection:
            return set(connection.scalars(query))

    def late(self, state: State) -> int:
        """Documents that had a message, and nothing happened to them in time."""
        query = sa.select(sa.func.count()).select_from(_documents)
        late = (_documents.c.state == state, _documents.c.due_at <= now(), _documents.c.sent.is_(True))
        with self._reading() as connection:
            return connection.scalar(query.where(*late)) or 0

    def waiting(self, state: State) -> int:
        """Documents in a state."""
        query = sa.select(sa.func.count()).select_from(_documents)
        with self._reading() as connection:
            return connection.scalar(query.where(_documents.c.state == state)) or 0

    def to_send(self, state: State, *, lease_s: float, lost: bool) -> list[str]:
        """Overdue documents, each given to one caller, who sends their messages at once.

        :param lost: also those that had a message once.
        """
        late = [_documents.c.state == state, _documents.c.due_at <= now()]
        if not lost:
            late.append(_documents.c.sent.is_(False))
        some = sa.select(_documents.c.id).where(*late).order_by(_documents.c.due_at).limit(_ROWS)
        # Chosen once, and those that another caller is about to send are passed over.
        chosen = some.with_for_update(skip_locked=True).cte("chosen")
        values = {"sent": True, "holder": None, "due_at": now() + lease_s}
        with self._writing() as connection:
            statement = sa.update(_documents).where(_documents.c.id.in_(sa.select(chosen.c.id)), *late).values(values)
            return list(connection.scalars(statement.returning(_documents.c.id)))

    def ready(self, limit: int) -> list[QueuedDocument]:
        """Documents that wait for the index's owner, those first that were given first."""
        query = sa.select(_documents).where(_documents.c.state == State.EMBEDDED, _documents.c.due_at <= now())
        order = (_documents.c.created_at, _documents.c.job_id, _documents.c.number)
        with self._reading() as connection:
            return [_queued(row) for row in connection.execute(query.order_by(*order).limit(limit))]

    def not_applied(self, document_id: str, error: str, *, wait_s: float, max_attempts: int) -> None:
        """A document that could not be applied waits for a while, and is dead after so many times."""
        dead = _documents.c.attempts + 1 >= max_attempts
        values = {
            "attempts": _documents.c.attempts + 1,
            "error": error,
            "due_at": now() + wait_s,
            "state": sa.case((dead, State.DEAD.value), else_=State.EMBEDDED.value),
        }
        with self._writing() as connection:
            at = (_documents.c.id == document_id, _documents.c.state == State.EMBEDDED)
            connection.execute(sa.update(_documents).where(*at).values(values))

    # Texts that are being embedded

    def claim_texts(self, partition: str, hashes: Sequence[str], holder: str, lease_s: float) -> set[str]:
        """Those of the texts that this holder may embed: nobody else does so at the moment."""
        until = now() + lease_s
        # In one order, so that no two who claim the same texts wait for each other.
        rows = [{"partition": partition, "hash": one, "holder": holder, "until": until} for one in sorted(set(hashes))]
        if not rows:
            return set()
        with self._writing() as connection:
            statement = insert(connection.dialect.name, _texts)
            taken = statement.on_conflict_do_update(
                index_elements=["partition", "hash"],
                set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
                where=_texts.c.until <= now(),
            )
            return set(connection.scalars(taken.returning(_texts.c.hash), rows))

    def release_texts(self, holder: str) -> None:
        """Let go of the texts of this holder."""
        with self._writing() as connection:
            lock(connection, _texts.c.hash, _texts.c.holder == holder)
            connection.execute(sa.delete(_texts).where(_texts.c.holder == holder))

    def close(self) -> None:
        """Let go of file or server."""
        self._database.close()

    # What is told of them

    def backlog(self) -> dict[State, tuple[int, float]]:
        """By state, the documents that wait and that nobody holds: how many, and when the oldest was given.

        Answered from an index, whatever the documents hold.

        :raises StorageError: if the file can't be read.
        """
        free = (_documents.c.state.in_(WAITING), _documents.c.holder.is_(None))
        told = sa.select(_documents.c.state, sa.func.count(), sa.func.min(_documents.c.created_at))
        with self._reading() as connection:
            rows = connection.execute(told.where(*free).group_by(_documents.c.state)).all()
        return {State(state): (count, oldest) for state, count, oldest in rows}

    def is_dead(self, document_id: str) -> bool:
        """Whether the document was given up."""
        query = sa.select(_documents.c.state).where(_documents.c.id == document_id)
        with self._reading() as connection:
            found: str | None = connection.scalar(query)
        return found == State.DEAD

    def _restart(self, *where: sa.ColumnElement[bool]) -> int:
        values = {"state": State.QUEUED, "attempts": 0, "holder": None, "due_at": now(), "sent": False, "staged": None}
        with self._writing() as connection:
            lock(connection, _documents.c.id, *where)
            return connection.execute(sa.update(_documents).where(*where).values(values)).rowcount

    def _summary(self, connection: sa.Connection, job: Any, usd_per_tok: Decimal) -> JobReport:
        by_state: dict[State, int] = {}
        tokens = 0
        sums = sa.select(_documents.c.state, sa.func.count(), sa.func.sum(_documents.c.tokens))
        for state, count, some in connection.execute(sums.where(_documents.c.job_id == job.id).group_by("state")):
            by_state[State(state)] = count
            tokens += int(some)
        documents = counted(by_state)
        return JobReport(
            job_id=job.id,
            collection=job.collection,
            state=job_state(documents, listed=job.listed),
            created_at=job.created_at,
            documents=documents,
            embedding=EmbeddingSpend(tokens=tokens, cost_usd=tokens * usd_per_tok),
        )


def _queued(row: sa.Row[tuple[object, ...]]) -> QueuedDocument:
    fields = row._mapping
    plain = (name for name in QueuedDocument.__dataclass_fields__ if name != "scope")
    return QueuedDocument(scope=Scope(fields["tenant"], fields["collection"]), **{name: fields[name] for name in plain})
