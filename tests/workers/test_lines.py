"""The lines in the store itself: who is next at each stage, what is refused, what is given up and what is removed."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.dialects import POSTGRES
from ragsaver.errors import QueueFull, StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion import job_tables
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.opening import jobs_place
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.ingestion.text_tokens import TextTokens
from ragsaver.ingestion.turns import Priority
from ragsaver.postgres import _format
from ragsaver.settings import DatabaseSettings, Settings, SpendSettings
from ragsaver.workers.draining import _batches
from ragsaver.workers.holding import Holding

ANTS, BEES = Scope("ants", "docs"), Scope("bees", "docs")
DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path, database: DatabaseSettings) -> Iterator[JobStore]:
    made = JobStore(jobs_place(Settings(home=tmp_path, database=database)))
    yield made
    made.close()


def put(store: JobStore, scope: Scope, documents: int, priority: Priority = Priority.NORMAL, **limits: int) -> str:
    job = store.create(scope, None, 100_000, priority=priority, **limits)
    store.add(job, [NewDocument(f"{n}.md", text="Owls.") for n in range(documents)], first=0, lease_s=600)
    store.listed(job)
    return job


def claimed(store: JobStore, state: State, limit: int = 1) -> list[str]:
    return [one.id for one in store.documents.claim(state, "a worker", limit=limit, lease_s=600)]


def moved(store: JobStore, before: State, after: State) -> None:
    """Everything of one stage goes to the next, as fast as one worker does it."""
    while documents := store.documents.claim(before, "a worker", limit=1, lease_s=600):
        store.documents.forward(documents[0].id, before, after, staged=b"", lease_s=600)


def test_at_every_stage_a_high_priority_is_first_and_tenants_have_turns(store: JobStore):
    many, low = put(store, ANTS, 60), put(store, ANTS, 2, Priority.LOW)
    one, urgent = put(store, BEES, 1), put(store, BEES, 2, Priority.HIGH)
    wanted = [f"{urgent}-0", f"{urgent}-1", f"{many}-0", f"{one}-0", *(f"{many}-{n}" for n in range(1, 8))]

    def arrived(state: State) -> None:
        """The last stage was done with them in the least useful order."""
        for document in reversed(first):
            store.documents.forward(document, before, state, lease_s=600)
        moved(store, before, state)

    first, before = claimed(store, State.QUEUED, 12), State.QUEUED
    # The low one has its turn after nine of others.
    assert first == [*wanted[:9], f"{low}-0", *wanted[9:]]
    arrived(State.CONVERTED)
    first, before = [claimed(store, State.CONVERTED)[0] for _ in range(4)], State.CONVERTED
    assert [document.rpartition("-")[0] for document in first[:2]] == [urgent, urgent]
    assert {document.rpartition("-")[0] for document in first[2:]} == {many, one}
    arrived(State.EMBEDDED)
    ready = [document.job_id for document in store.documents.ready(4)]
    assert (ready[:2], set(ready[2:])) == ([urgent, urgent], {many, one})


def test_what_is_brought_in_together_is_of_one_scope_and_no_document_stands_in_it_twice(store: JobStore):
    for scope in (ANTS, BEES, ANTS):
        put(store, scope, 3)
    moved(store, State.QUEUED, State.EMBEDDED)
    batches = list(_batches(store.documents.ready(100)))
    assert [(scope, [one.source for one in batch]) for scope, batch in batches] == [
        (ANTS, ["0.md", "1.md", "2.md"]),
        (BEES, ["0.md", "1.md", "2.md"]),
        (ANTS, ["0.md", "1.md", "2.md"]),
    ]
    assert batches[0][1][0].job_id != batches[2][1][0].job_id


def test_a_document_that_is_tried_again_stands_at_the_end_of_its_tenant_s_line(store: JobStore):
    many, one = put(store, ANTS, 3), put(store, BEES, 2)
    (document,) = store.documents.claim(State.QUEUED, "a worker", limit=1, lease_s=600)
    store.documents.put_back(document.id, "a worker", wait_s=0.0, error="busy", tried=True)
    assert claimed(store, State.QUEUED, 2) == [f"{one}-0", f"{many}-1"]  # not in line before somebody looks
    store.documents.line_up(State.QUEUED)
    assert [claimed(store, State.QUEUED, 3) for _ in range(2)] == [[f"{one}-1", f"{many}-2"], [f"{many}-0"]]


def test_a_document_that_ended_its_workers_too_often_is_dead_and_takes_nobody_with_it(store: JobStore):
    job = put(store, ANTS, 2)
    dies = {"limit": 2, "lease_s": -1}
    assert len(store.documents.claim(State.QUEUED, "dies", **dies)) == 2
    store.documents.bury(State.QUEUED, 2)
    store.documents.line_up(State.QUEUED)
    # Either may be what ended that worker, so that now they come alone.
    assert [one.id for one in store.documents.claim(State.QUEUED, "dies", **dies)] == [f"{job}-0"]
    store.documents.bury(State.QUEUED, 2)
    store.documents.line_up(State.QUEUED)
    report = store.report(job, "ants", SpendSettings())
    assert [(one.state, one.attempts) for one in report.progress] == [(State.DEAD, 2), (State.QUEUED, 1)]
    assert "died or hung" in report.errors[0].error
    assert claimed(store, State.QUEUED, 2) == [f"{job}-1"]


def test_a_tenant_with_too_many_waiting_documents_is_refused_and_others_are_not(store: JobStore):
    limits = {"max_waiting_of_tenant": 5}
    put(store, ANTS, 5, **limits)
    with pytest.raises(QueueFull, match=r"5 documents of tenant `ants` wait already.*per_tenant"):
        put(store, ANTS, 1, **limits)
    put(store, BEES, 1, **limits)
    document = claimed(store, State.QUEUED)[0]
    store.documents.forward(document, State.QUEUED, State.UNCHANGED)
    put(store, ANTS, 1, **limits)


def test_jobs_that_ended_long_ago_are_removed_with_their_documents(store: JobStore):
    ended, waiting, lost = put(store, ANTS, 2), put(store, BEES, 1), put(store, ANTS, 1)
    for n in range(2):
        store.documents.forward(f"{ended}-{n}", State.QUEUED, State.APPLIED)
    store.documents.forward(f"{lost}-0", State.QUEUED, State.FAILED, error="broken")
    assert store.remove_finished(time.time() - DAY_S) == 0
    assert store.remove_finished(time.time() + DAY_S) == 2
    jobs = [one.job_id for tenant in ("ants", "bees") for one in store.reports(tenant, SpendSettings())]
    assert jobs == [waiting]
    assert store.retry(lost, "ants") == 0


def test_work_that_hangs_is_given_up_and_counts_as_an_attempt(store: JobStore):
    job = put(store, ANTS, 1)
    now_s = 0.0
    # So long a lease that the thread which renews does nothing by itself here.
    holding = Holding(store, 600.0, 1800.0, clock=lambda: now_s)
    (document,) = store.documents.claim(State.QUEUED, "hangs", limit=1, lease_s=-1)
    with holding(["hangs"]):
        now_s = 1799.0
        assert holding.renew()
        store.documents.line_up(State.QUEUED)
        assert claimed(store, State.QUEUED) == []
        store.documents.hold_on(["hangs"], -1)
        now_s = 1800.0
        assert not holding.renew()
        store.documents.line_up(State.QUEUED)
        (again,) = store.documents.claim(State.QUEUED, "goes on", limit=1, lease_s=600)
    assert (again.id, again.attempts) == (document.id, 2) == (f"{job}-0", document.attempts + 1)


def test_what_waits_is_told_by_stage_with_the_age_of_the_oldest(store: JobStore):
    before = time.time()
    first, second = put(store, ANTS, 3), put(store, BEES, 2, Priority.LOW)
    held = store.documents.claim(State.QUEUED, "a worker", limit=2, lease_s=600)
    store.documents.forward(f"{second}-0", State.QUEUED, State.CONVERTED, lease_s=600)
    told = store.documents.backlog()
    assert {state: number for state, (number, _) in told.items()} == {State.QUEUED: 2, State.CONVERTED: 1}
    assert before <= told[State.QUEUED][1] <= told[State.CONVERTED][1] <= time.time()
    # One that is to be tried again waits too, in line or not yet; one that is at its end does not.
    store.documents.put_back(held[0].id, "a worker", wait_s=600, error="busy", tried=True)
    store.documents.forward(held[1].id, State.QUEUED, State.UNCHANGED)
    assert store.documents.backlog()[State.QUEUED] == (3, told[State.QUEUED][1])
    assert store.drop(first, "ants") and store.drop(second, "bees")
    assert store.documents.backlog() == {}


def test_jobs_of_a_format_that_is_no_more_are_refused_with_the_remedy(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as file:
        file.execute("CREATE TABLE documents (id TEXT PRIMARY KEY)")
        file.execute("PRAGMA user_version = 1")
    with pytest.raises(StorageError, match="format 1 of the jobs, this RAGSaver reads 5.*queue the documents again"):
        JobStore(tmp_path / "jobs.sqlite")


def test_jobs_of_the_format_before_are_brought_on(store: JobStore):
    job = put(store, ANTS, 2)
    with store._database.writing() as connection:
        for column in (job_tables.documents.c.cached_tokens, job_tables.documents.c.notes, job_tables.bills.c.cost):
            drop = sa.DDL(f"ALTER TABLE %(fullname)s DROP COLUMN {column.name}")
            connection.execute(drop.against(column.table))
        if connection.dialect.name == POSTGRES:
            connection.execute(sa.update(_format).values(version=2))
        else:
            connection.execute(sa.text("PRAGMA user_version = 2"))
    told = []
    for _ in range(2):
        with closing(JobStore(store.place)) as again:
            report = again.report(job, ANTS.tenant, SpendSettings())
            again.documents.took({f"{job}-0": TextTokens(total=7, embedded=3)})
            told.append((report.documents.seen, report.embedding.tokens, report.embedding.cached_tokens))
    assert told == [(2, 0, 0), (2, 3, 4)]


def test_no_question_about_what_waits_looks_through_all_documents(tmp_path: Path):
    store = JobStore(tmp_path / "jobs.sqlite")
    put(store, ANTS, 3)
    looked: list[str] = []

    @sa.event.listens_for(store._database._engine, "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, context, many) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")) and not many:
            plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            looked.extend(f"{row[3]}: {statement}" for row in plan.fetchall())

    documents = store.documents
    put(store, BEES, 1, max_waiting_of_tenant=5)
    documents.claim(State.QUEUED, "a worker", limit=2, lease_s=-1)
    documents.hold_on(["a worker"], -1)
    documents.bury(State.QUEUED, 5)
    documents.line_up(State.QUEUED)
    documents.late(State.QUEUED)
    for lost in (False, True):
        documents.to_send(State.QUEUED, lease_s=-1, lost=lost)
    documents.unsend(State.QUEUED, 1)
    moved(store, State.QUEUED, State.EMBEDDED)
    documents.ready(10)
    documents.waiting(State.EMBEDDED)
    store.remove_finished(0.0)
    asked = len(looked)
    documents.backlog()
    store.close()
    assert all("COVERING INDEX" in line for line in looked[asked:] if line.startswith(("SEARCH", "SCAN")))
    assert looked and not [line for line in looked if line.startswith("SCAN documents")]
    # The next ones are read off an index: no sorting of all that wait.
    assert not [line for line in looked if line.startswith("USE TEMP B-TREE FOR ORDER BY")]
