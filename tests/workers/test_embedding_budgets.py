"""What workers embed never passes a budget: a document that has no room waits and says why, and is no failure."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ragsaver.errors import BudgetExceeded
from ragsaver.index.scope import Scope
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.job_tables import documents
from ragsaver.settings import DatabaseSettings, QueueSettings
from ragsaver.spend.ledger import EXPIRED, open_ledger
from ragsaver.spend.reports import budgets_report
from ragsaver.spend.tables import leases
from ragsaver.workers.backoff import room_in_s
from ragsaver.workers.stages import Step
from tests.ingestion.bench import Stopped
from tests.ingestion.test_charging import charged, micro
from tests.redis_server import RedisServer
from tests.spend.ledgers import budget
from tests.workers.fleet import Project
from tests.workers.test_embedding_charges import BEES, agrees, until_in
from tests.workers.test_stages import TEXT, Line

CROWS = "Crows remember the faces of people who were unkind."
PRICE = 10


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    """Where a hold is over as soon as it is had, and a month's budget of the tenant pays for one text of the three."""
    spend = {"embedding_per_mtok": PRICE, "budgets": [budget("tenant", "month", 150, "acme").model_dump()]}
    made = Line(tmp_path, redis, database, {"spend": spend}, visibility_timeout_s=1e-6)
    yield made
    made.close()


def limit(line: Line, micro_dollars: int) -> None:
    (wish,) = line.settings.spend.budgets
    changed = wish.model_copy(update={"limit_usd": Decimal(micro_dollars) / 1_000_000})
    spend = line.settings.spend.model_copy(update={"budgets": (changed,)})
    line.settings = line.settings.model_copy(update={"spend": spend})
    object.__setattr__(line.runtime.resources, "settings", line.settings)  # as a process that is started anew


def hurry(line: Line) -> None:
    """Who waits for a budget has waited."""
    with line.queue.jobs._writing() as connection:
        away = (documents.c.round.is_(None), documents.c.holder.is_(None))
        connection.execute(sa.update(documents).where(*away).values(due_at=1.0))


def held(line: Line) -> int:
    with closing(open_ledger(line.settings)) as ledger:
        (told,) = budgets_report(ledger).budgets
        return int(told.held_usd * 1_000_000)


def test_documents_wait_for_a_budget_and_say_so_and_are_never_dead(line: Line):
    ids = line.put(TEXT, BEES, CROWS)
    line.convert(ids)
    for _ in range(line.settings.queue.max_attempts + 2):
        hurry(line)
        line.requeue()
        line.embed(ids)
        line.drain()
    states = line.states(ids)
    assert sorted(states) == [State.APPLIED, State.CONVERTED, State.CONVERTED]
    report = line.report(ids[0])
    assert len(report.waiting) == 2 and report.errors == () and not report.finished
    assert all("budget tenant acme per month" in one.error and "Wait until" in one.error for one in report.waiting)
    assert 0 < micro(line.settings) <= 150 and held(line) == 0
    agrees(line, report)

    limit(line, 10_000)
    hurry(line)
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert set(line.paid().values()) == {1} and line.report(ids[0]).waiting == ()


def test_a_document_whose_texts_are_known_goes_on_and_another_tenant_s_too(line: Line):
    until_in(line, line.put(TEXT))
    limit(line, micro(line.settings))
    ids = line.put(TEXT, BEES)
    line.convert(ids)
    line.embed(ids)
    line.drain()
    assert line.states(ids) == [State.UNCHANGED, State.CONVERTED]
    theirs = line.put(BEES, scope=Scope("rival", "docs"))
    line.convert(theirs)
    line.requeue()
    line.embed([*ids, *theirs])
    with line.queue.jobs._reading() as connection:
        found = connection.scalar(sa.select(documents.c.state).where(documents.c.tenant == "rival"))
    assert found == State.EMBEDDED


def test_what_the_cache_lost_waits_for_a_budget_where_it_is_brought_in(line: Line):
    ids = line.put(TEXT)
    line.convert(ids)
    line.embed(ids)
    spent = micro(line.settings)
    limit(line, spent)
    line.lose_vectors()
    for _ in range(line.settings.queue.max_attempts + 2):
        hurry(line)
        line.drain()
    assert line.states(ids) == [State.EMBEDDED] and micro(line.settings) == spent and held(line) == 0
    assert "budget tenant acme per month" in line.report(ids[0]).waiting[0].error
    limit(line, 10_000)
    hurry(line)
    line.drain()
    assert line.states(ids) == [State.APPLIED]
    agrees(line, line.report(ids[0]))


def expire(line: Line) -> list[Any]:
    """All that is held is over; the entries then."""
    with closing(open_ledger(line.settings)) as ledger:
        with ledger.database.writing() as connection:
            connection.execute(sa.update(leases).values(expires_at=1.0))
        ledger.expire_due(at_once=True)
    return charged(line.settings)


def killed(line: Line, monkeypatch: pytest.MonkeyPatch, ids: list[str], step: Step) -> None:
    """A worker dies after a step: nobody gives back what it held."""

    def stop(seen: Step, source: str) -> None:
        if seen is step:
            raise Stopped

    worker = line.worker(stop)
    monkeypatch.setattr(worker, "give_back", lambda held: None)
    with pytest.raises(Stopped):
        line.embed(ids, worker)


def test_what_a_worker_held_that_died_pays_for_who_goes_on(line: Line, monkeypatch):
    ids = line.put(TEXT)
    line.convert(ids)
    killed(line, monkeypatch, ids, Step.RESERVED)
    assert held(line) > 0 and charged(line.settings) == []
    limit(line, 10_000)
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    before = charged(line.settings)
    after = expire(line)
    assert held(line) == 0 and [one.fresh for one in after if one.fresh] == [one.fresh for one in before]
    agrees(line, line.report(ids[0]))


def test_what_expired_before_somebody_went_on_is_not_charged_twice(line: Line, monkeypatch):
    ids = line.put(TEXT)
    line.convert(ids)
    killed(line, monkeypatch, ids, Step.RESERVED)
    (expired,) = expire(line)
    assert expired.outcome == EXPIRED and expired.cost > 0
    limit(line, 10_000)
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert held(line) == 0


def test_who_dies_between_the_bill_and_the_ledger_had_held_what_is_charged(line: Line, monkeypatch):
    ids = line.put(TEXT)
    line.convert(ids)
    worker = line.worker()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "charge", lambda ids, held=(): (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            line.embed(ids, worker)
    cost = held(line)
    assert cost > 0
    limit(line, cost)  # not a micro-dollar more
    until_in(line, ids)
    agrees(line, line.report(ids[0]))
    assert (micro(line.settings), held(line)) == (cost, 0)


def test_a_budget_is_asked_again_when_it_says_within_an_hour_and_not_by_all_at_once():
    limits = QueueSettings(max_backoff_s=300)

    def wait(after_s: float | None, jitter: float) -> float:
        return room_in_s(BudgetExceeded("no room", retry_after_s=after_s), limits, lambda: jitter)

    assert (wait(10, 0), wait(10, 1)) == (10, 20)
    assert (wait(1e6, 0), wait(1e6, 1)) == (3600, 3900)
    assert wait(None, 0) == 3600


def test_a_worker_that_is_killed_as_it_embeds_ends_its_hold_and_nothing_is_charged_twice(project: Project):
    project.kept["RAGSAVER_SPEND__EMBEDDING_PER_MTOK"] = str(PRICE)
    project.kept["RAGSAVER_SPEND__BUDGETS"] = '[{"scope": "tenant", "period": "month", "limit_usd": 0.1}]'
    for n in range(3):
        project.write(f"{n}.md", f"animal{n}")
    # One at a time: who dies while another thread embeds has paid for what nobody has.
    worker = ("worker", "--apply", "--concurrency", "1")
    with (
        project.running(*worker, reborn=True, RAGSAVER_TEST_DIE="reserved:docs/1.md"),
        project.queue() as queue,
    ):
        job = project.finished(queue.put(project.order(), Scope("default", "default")).job_id)
    settings = project.settings()
    assert (job.state, job.documents.applied) == ("done", 3)
    with closing(open_ledger(settings)) as ledger:
        with ledger.database.writing() as connection:
            left = connection.execute(sa.select(leases)).all()
            connection.execute(sa.update(leases).values(expires_at=1.0))
        assert left  # of who died
        ledger.expire_due(at_once=True)
        (told,) = budgets_report(ledger).budgets
    assert told.held_usd == 0
    assert micro(settings) == job.embedding.cost_usd * 1_000_000 == told.spent_usd * 1_000_000 > 0
    assert set(project.paid().values()) == {1}
