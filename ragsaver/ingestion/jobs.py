"""What was asked for? Jobs and their documents, in a SQLite file or PostgreSQL, so that any worker may die any time."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from ragsaver.database import Place, copy_rows, open_database
from ragsaver.dialects import chosen, insert, lock, write_rows
from ragsaver.errors import QueueFull
from ragsaver.index.scope import Scope
from ragsaver.ingestion.accounting import embedding_spend, told_kinds
from ragsaver.ingestion.bills import Bills, summary_spend
from ragsaver.ingestion.document_line import DocumentLine, count, count_waiting, join_line, restart
from ragsaver.ingestion.job_report import LOST, WAITING, DeadDocument, JobDocument, JobReport, State, counted, job_state
from ragsaver.ingestion.job_tables import ROWS, SCHEMA, STEPS
from ragsaver.ingestion.job_tables import bills as _bills
from ragsaver.ingestion.job_tables import documents as _documents
from ragsaver.ingestion.job_tables import jobs as _jobs
from ragsaver.ingestion.job_tables import lines as _lines
from ragsaver.ingestion.job_tables import metadata as _metadata
from ragsaver.ingestion.job_tables import passed_over as _passed_over
from ragsaver.ingestion.losses import told_notes
from ragsaver.ingestion.manifest import now
from ragsaver.ingestion.notes import notes_of
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.ingestion.report import IngestFailure
from ragsaver.ingestion.text_claims import TextClaims
from ragsaver.ingestion.turns import Priority
from ragsaver.settings import SpendSettings

_WAITING_SHOWN = 100


class JobStore:
    """Jobs, in one SQLite file or a schema of PostgreSQL.

    :ivar documents: the jobs' documents on their way.
    :ivar texts: that are being embedded.
    :ivar bills: of summaries.
    :raises StorageError: if it can't be opened or written.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
        self._database = open_database(place, "the jobs", "Free some space or check the folder's rights")
        self._reading, self._writing = self._database.reading, self._database.writing
        remedy = "Delete the file, or the schema, and queue the documents again"
        self._database.set_up((_metadata,), SCHEMA, remedy, STEPS)
        self.documents = DocumentLine(self._database)
        self.texts = TextClaims(self._database)
        self.bills = Bills(self._database)
        lines = [
            {"state": state, "priority": priority, "round": 0, "passed": 0}
            for state in WAITING
            for priority in Priority
        ]
        with self._writing() as connection:
            write_rows(connection, insert(connection.dialect.name, _lines).on_conflict_do_nothing(), lines)

    def create(
        self,
        scope: Scope,
        order: IngestOrder | None,
        max_waiting: int,
        *,
        priority: Priority = Priority.NORMAL,
        max_waiting_of_tenant: int | None = None,
    ) -> str:
        """Begin a job; returns its id.

        :param order: what was asked for; None where the documents were given as text.
        :param max_waiting_of_tenant: as `max_waiting`, of the tenant's documents; None for no limit of its own.
        :raises QueueFull: if `max_waiting` documents or more wait already.
        """
        job_id = uuid.uuid4().hex
        with self._writing() as connection:
            values = {
                "id": job_id,
                "tenant": scope.tenant,
                "collection": scope.collection,
                "priority": priority,
                "order": order.model_dump(mode="json") if order else {},
                "listed": False,
                "created_at": now(),
            }
            connection.execute(sa.insert(_jobs).values(values))
            waiting = count_waiting(connection, *WAITING)
            if waiting >= max_waiting:
                raise QueueFull(
                    f"{waiting} documents wait already, {max_waiting} may",
                    remedy="Try again later, start more workers, or raise `queue.max_waiting_documents`",
                )
            if max_waiting_of_tenant is not None:
                _require_room(connection, scope.tenant, max_waiting_of_tenant)
        return job_id

    def add(self, job_id: str, documents: Sequence[NewDocument], *, first: int, lease_s: float) -> int:
        """Add documents to a job; how many are to be read, whose messages the caller sends at once.

        :param first: how many the job has already.
        :param lease_s: after which a message is taken for lost.
        """
        with self._writing() as connection:
            kept = sa.select(_jobs).where(_jobs.c.id == job_id).with_for_update(read=True, key_share=True)
            job = connection.execute(kept).one()
            rows: list[dict[str, Any]] = [
                {
                    "id": f"{job_id}-{number}",
                    "job_id": job_id,
                    "number": number,
                    "tenant": job.tenant,
                    "collection": job.collection,
                    "priority": job.priority,
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
                    "round": None,
                    "due_at": now() + (lease_s if one.state is State.QUEUED else 0.0),
                    "staged": one.staged,
                    "notes": None,
                    "tokens": 0,
                    "cached_tokens": 0,
                }
                for number, one in enumerate(documents, first)
            ]
            by_state: defaultdict[State, list[dict[str, Any]]] = defaultdict(list)
            for row in rows:
                by_state[row["state"]].append(row)
            for state in WAITING:
                coming = by_state[state]
                if coming:
                    rounds = join_line(connection, state, job.tenant, job.priority, len(coming))
                    for row, place in zip(coming, rounds, strict=True):
                        row["round"] = place
            for start in range(0, len(rows), ROWS):
                write_rows(connection, sa.insert(_documents), rows[start : start + ROWS])
        return len(by_state[State.QUEUED])

    def listed(self, job_id: str, passed_over: Mapping[str, int] = MappingProxyType({})) -> None:
        """All documents of the job are known.

        :param passed_over: files that were left out for their kind, by suffix.
        """
        rows = [{"job_id": job_id, "suffix": suffix, "files": files} for suffix, files in passed_over.items()]
        with self._writing() as connection:
            known = connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(listed=True)).rowcount
            write_rows(connection, sa.insert(_passed_over), rows if known else [])

    def drop(self, job_id: str, tenant: str) -> bool:
        """Forget a job and what of it still waits; what went in stays in. False if there is none."""
        with self._writing() as connection:
            of_tenant = (_jobs.c.id == job_id, _jobs.c.tenant == tenant)
            gone = connection.execute(sa.delete(_jobs).where(*of_tenant)).rowcount == 1
            if gone:
                lock(connection, _documents.c.id, _documents.c.job_id == job_id)
                connection.execute(sa.delete(_documents).where(_documents.c.job_id == job_id))
                _forget_notes(connection, job_id)
        return gone

    def retry(self, job_id: str, tenant: str) -> int:
        """Begin again with the documents that failed or are dead; how many those are."""
        lost = (_documents.c.job_id == job_id, _documents.c.tenant == tenant, _documents.c.state.in_(LOST))
        with self._writing() as connection:
            return restart(connection, *lost)

    def remove_finished(self, before: float) -> int:
        """Forget jobs of which nothing has happened since, and nothing waits; how many.

        :param before: seconds since 1970.
        """
        busy = sa.exists().where(
            _documents.c.job_id == _jobs.c.id, sa.or_(_documents.c.state.in_(WAITING), _documents.c.due_at >= before)
        )
        over = sa.select(_jobs.c.id).where(_jobs.c.created_at < before, ~busy)
        with self._reading() as connection:
            ids = list(connection.scalars(over))
        return sum(self._remove(job_id) for job_id in ids)

    def _remove(self, job_id: str) -> int:
        # Not all documents at once: workers wait for a write to end.
        of_job = _documents.c.job_id == job_id
        ended = sa.select(_documents.c.id).where(of_job, _documents.c.state.not_in(WAITING))
        some = chosen(ended.limit(ROWS))
        gone = ROWS
        while gone == ROWS:
            with self._writing() as connection:
                delete = sa.delete(_documents).where(_documents.c.id.in_(some))
                gone = len(connection.execute(delete.returning(_documents.c.id)).all())
        with self._writing() as connection:
            empty = (_jobs.c.id == job_id, ~sa.exists().where(of_job))
            gone = connection.execute(sa.delete(_jobs).where(*empty)).rowcount
            if gone:
                _forget_notes(connection, job_id)
            return gone

    def report(
        self, job_id: str, tenant: str, prices: SpendSettings, *, limit: int = 1000, offset: int = 0
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
            late = query.where(_documents.c.state.in_(WAITING), _documents.c.error.isnot(None)).limit(_WAITING_SHOWN)
            waiting = connection.execute(late).all()
            noted = connection.execute(
                query.with_only_columns(_documents.c.source, _documents.c.notes).where(_documents.c.notes.isnot(None))
            ).all()
            summary = self._summary(connection, job, prices)
        return summary.model_copy(
            update={
                "progress": tuple(
                    JobDocument(source=row.source, state=row.state, attempts=row.attempts, error=row.error)
                    for row in page
                ),
                "errors": tuple(IngestFailure(source=row.source, error=row.error or "") for row in lost),
                "waiting": tuple(IngestFailure(source=row.source, error=row.error) for row in waiting),
                **told_notes((row.source, notes_of(row.notes)) for row in noted),
            }
        )

    def reports(self, tenant: str, prices: SpendSettings, *, limit: int = 100) -> list[JobReport]:
        """The newest jobs of a tenant, without their documents."""
        query = sa.select(_jobs).where(_jobs.c.tenant == tenant).order_by(_jobs.c.created_at.desc()).limit(limit)
        with self._reading() as connection:
            return [self._summary(connection, job, prices) for job in connection.execute(query).all()]

    def dead(self, tenant: str, *, limit: int = 100) -> list[DeadDocument]:
        """The dead documents of all of a tenant's jobs, those that died last first."""
        table = _documents.c
        query = sa.select(
            table.job_id, table.collection, table.source, table.attempts, table.error, table.due_at.label("died_at")
        ).where(table.tenant == tenant, table.state == State.DEAD)
        with self._reading() as connection:
            found = connection.execute(query.order_by(table.due_at.desc(), table.id).limit(limit)).all()
        return [DeadDocument(**{**row._mapping, "error": row.error or ""}) for row in found]

    def hold_on(self, holders: Sequence[str], lease_s: float) -> None:
        """These hold what they hold, documents and texts, for longer."""
        self.documents.hold_on(holders, lease_s)
        self.texts.hold_on(holders, lease_s)

    def copy_from(self, other: "JobStore") -> dict[str, int]:
        """Take the jobs of another store of which nothing waits; how many rows, by table.

        :raises StorageError: if this one holds some, or can't take all of them; then it takes nothing.
        """
        return copy_rows(other._database, self._database, [_jobs, _documents, _bills, _passed_over])

    def close(self) -> None:
        """Let go of file or server."""
        self._database.close()

    def _summary(self, connection: sa.Connection, job: Any, prices: SpendSettings) -> JobReport:
        by_state: dict[State, int] = {}
        cached = 0
        of_job = _documents.c.job_id == job.id
        counts = sa.select(_documents.c.state, sa.func.count(), sa.func.sum(_documents.c.cached_tokens)).where(of_job)
        for state, number, before in connection.execute(counts.group_by("state")):
            by_state[State(state)] = number
            cached += int(before)
        alike = sa.select(_documents.c.tokens, sa.func.count()).where(of_job).group_by(_documents.c.tokens)
        charged = {int(tokens): int(number) for tokens, number in connection.execute(alike)}
        documents = counted(by_state)
        left_out = sa.select(_passed_over.c.suffix, _passed_over.c.files).where(_passed_over.c.job_id == job.id)
        passed_over = {suffix: int(files) for suffix, files in connection.execute(left_out.order_by("suffix")).all()}
        return JobReport(
            job_id=job.id,
            collection=job.collection,
            priority=job.priority,
            state=job_state(documents, listed=job.listed),
            created_at=job.created_at,
            documents=documents,
            embedding=embedding_spend(charged, cached, prices),
            summaries=summary_spend(connection, job.id, prices),
            passed_over=told_kinds(passed_over),
        )


def _forget_notes(connection: sa.Connection, job_id: str) -> None:
    """What is noted of a job beside its documents goes with it."""
    for table in (_bills, _passed_over):
        connection.execute(sa.delete(table).where(table.c.job_id == job_id))


def _require_room(connection: sa.Connection, tenant: str, max_waiting: int) -> None:
    waiting = count(connection, _documents.c.tenant == tenant, _documents.c.state.in_(WAITING))
    if waiting >= max_waiting:
        raise QueueFull(
            f"{waiting} documents of tenant `{tenant}` wait already, {max_waiting} may",
            remedy="Try again when some of them are in, or raise `queue.max_waiting_documents_per_tenant`",
        )
