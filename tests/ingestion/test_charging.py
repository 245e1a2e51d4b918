"""What is embedded is in the ledger, each token once, at what it costs: also after a stop, and by many at once."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ragsaver.errors import StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion import charging
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.settings import BudgetSettings, Settings
from ragsaver.spend.fuse import Fuses
from ragsaver.spend.ledger import open_ledger
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.reports import UsageReport, budgets_report, reprice, usage_report
from ragsaver.spend.tables import entries, leases
from tests.ingestion.bench import SCOPE, Bench, Stopped
from tests.ingestion.test_what_is_paid_for import text
from tests.spend.ledgers import check

# So that a token is no whole number of micro-dollars.
PRICE = Decimal("0.37")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, spend={"embedding_per_mtok": str(PRICE)}, ingestion={"batch_chunks": 2})
    yield made
    made.close()


def charged(settings: Settings) -> list[Any]:
    """The entries of the ledger, which is in order."""
    with closing(open_ledger(settings)) as ledger:
        check(ledger)
        with ledger.database.reading() as connection:
            return list(connection.execute(sa.select(entries).order_by(entries.c.id)))


def usage(settings: Settings, by: str = "task", **more: Any) -> UsageReport:
    with closing(open_ledger(settings)) as ledger:
        return usage_report(ledger, by=by, **more)


def micro(settings: Settings) -> int:
    return sum(one.cost for one in charged(settings))


def paid_tokens(bench: Bench) -> int:
    return sum(bench.encoder.count_tokens(bench.encoder.paid))


def test_what_receipts_say_of_several_runs_is_in_the_ledger_to_the_micro_dollar(bench: Bench):
    for name, numbers in (("a.md", (1, 2, 3)), ("b.md", (4, 5)), ("c.md", (1, 6))):
        (bench.docs / name).write_text(text(*numbers))
    receipts = [bench.ingest().receipt, bench.ingest().receipt]
    (bench.docs / "b.md").write_text(text(4, 9))
    receipts.append(bench.ingest().receipt)
    receipts.append(bench.ingestor().ingest_texts([PostedDocument("posted.md", text(77, 1))], SCOPE).receipt)

    made = charged(bench.settings)
    assert sum(one.fresh for one in made) == paid_tokens(bench)
    assert sum(one.cost for one in made) == sum(one.cost_usd for one in receipts) * 1_000_000
    assert {(one.task, one.tier, one.tenant, one.model) for one in made} == {("ingest", "ingest", "acme", "counting")}
    assert [one.cost_usd > 0 for one in receipts] == [True, False, True, True]
    assert len({one.request_id for one in made}) == 3 and len(made) > 3


def test_a_plan_says_what_is_then_charged(bench: Bench):
    (bench.docs / "a.md").write_text(text(1, 2, 3))
    planned = bench.plan().embedding.cost_usd
    assert bench.ingest(max_cost_usd=planned).embedding.cost_usd == planned
    assert micro(bench.settings) == planned * 1_000_000


@pytest.mark.parametrize("step", list(Step))
def test_wherever_a_run_is_stopped_each_embedding_is_charged_once(bench: Bench, step: Step):
    for name, numbers in (("a.md", (1, 2, 3)), ("b.md", (4, 5))):
        (bench.docs / name).write_text(text(*numbers))
    with pytest.raises(Stopped):
        bench.ingest(step)
    bench.ingest()
    made = charged(bench.settings)
    assert sum(one.fresh for one in made) == paid_tokens(bench)
    assert len(bench.encoder.paid) == len(set(bench.encoder.paid))


def test_what_is_embedded_again_since_the_cache_never_had_it_was_paid_for_twice(bench: Bench, monkeypatch):
    (bench.docs / "a.md").write_text(text(1))
    with monkeypatch.context() as patched:
        patched.setattr(bench.cache, "put", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            bench.ingest()
    bench.ingest()
    assert len(bench.encoder.paid) == 2
    assert sum(one.fresh for one in charged(bench.settings)) == paid_tokens(bench)


def test_where_embedding_costs_nothing_no_ledger_is_opened(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(charging, "open_ledger", None)
    bench = Bench(tmp_path)
    (bench.docs / "a.md").write_text(text(1))
    assert bench.ingest().chunks.embedded == 1
    bench.close()


def test_a_ledger_that_can_t_be_written_costs_one_batch_at_most_and_has_it_as_soon_as_it_can(bench: Bench, monkeypatch):
    (bench.docs / "a.md").write_text(text(1, 2))
    (bench.docs / "b.md").write_text(text(3, 4))
    (bench.docs / "c.md").write_text(text(5, 6))
    charging_it = charging.charge_embedded
    asked: list[int] = []

    def failing(*parts: Any) -> int:
        asked.append(len(bench.encoder.paid))
        if len(asked) == 1:
            raise StorageError("full")
        return charging_it(*parts)

    monkeypatch.setattr(charging, "charge_embedded", failing)
    bench.ingest()
    assert asked[0] == asked[1] > 0  # before another batch
    monkeypatch.undo()
    assert sum(one.fresh for one in charged(bench.settings)) == paid_tokens(bench)

    monkeypatch.setattr(charging, "charge_embedded", lambda *_: (_ for _ in ()).throw(StorageError("full")))
    for name in "defg":
        (bench.docs / f"{name}.md").write_text(text(*range(10 * ord(name), 10 * ord(name) + 2)))
    before = len(bench.encoder.paid)
    with pytest.raises(StorageError):
        bench.ingest()
    assert 0 < len(bench.encoder.paid) - before < 8


def test_while_the_ledger_can_t_be_opened_nothing_is_embedded(bench: Bench, monkeypatch):
    (bench.docs / "a.md").write_text(text(1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(charging, "open_ledger", lambda settings: (_ for _ in ()).throw(StorageError("full")))
        with pytest.raises(StorageError):
            bench.ingest()
    assert bench.encoder.paid == []
    bench.ingest()
    assert sum(one.fresh for one in charged(bench.settings)) == paid_tokens(bench) > 0


def test_a_model_that_fails_costs_nothing_and_holds_nothing_any_more(bench: Bench, monkeypatch):
    (bench.docs / "a.md").write_text(text(1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(bench.encoder, "encode", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            bench.ingest()
    assert charged(bench.settings) == []
    with closing(open_ledger(bench.settings)) as ledger, ledger.database.reading() as connection:
        assert connection.execute(sa.select(leases)).all() == []


def test_one_ledger_is_opened_for_all_batches(bench: Bench, monkeypatch):
    for name in "abcd":
        (bench.docs / f"{name}.md").write_text(text(ord(name), ord(name) + 100))
    opening, opened = charging.open_ledger, []
    monkeypatch.setattr(charging, "open_ledger", lambda settings: opened.append(opening(settings)) or opened[-1])
    with closing(bench.ingestor()) as ingestor:
        ingestor.ingest(bench.order(), SCOPE)
        ingestor.ingest_texts([PostedDocument("posted.md", text(77))], SCOPE)
    assert len(opened) == 1 and len(charged(bench.settings)) > 2


def test_it_is_told_by_tenant_and_task_and_counts_for_budgets(tmp_path: Path):
    limit = BudgetSettings(scope="tenant", name="acme", period="day", limit_usd="1")
    bench = Bench(tmp_path, spend={"embedding_per_mtok": "10", "budgets": [limit.model_dump()]})
    (bench.docs / "a.md").write_text(text(1, 2))
    cost = bench.ingest().receipt.cost_usd
    theirs = bench.ingest(scope=Scope("rival", "docs")).receipt.cost_usd
    assert cost == theirs > 0
    told = {(one.name, one.cost_usd) for one in usage(bench.settings, "tenant").lines}
    assert told == {("acme", cost), ("rival", theirs)}
    assert [(one.name, one.cost_usd) for one in usage(bench.settings).lines] == [("ingest", 2 * cost)]
    assert usage(bench.settings, "tier").lines[0].name == "ingest"
    with closing(open_ledger(bench.settings)) as ledger:
        (line,) = budgets_report(ledger).budgets
        assert (line.spent_usd, line.held_usd, line.remaining_usd) == (cost, 0, 1 - cost)
        assert reprice(ledger, PriceBook()).lines == ()  # no language model has a price for it
    bench.close()


def test_a_large_ingestion_blows_no_fuse(tmp_path: Path):
    bench = Bench(tmp_path, spend={"embedding_per_mtok": "1000000"})
    (bench.docs / "a.md").write_text(text(1, 2))
    assert bench.ingest().receipt.cost_usd > 50
    with closing(open_ledger(bench.settings)) as ledger:
        assert Fuses(ledger, bench.settings.spend.fuse).blown("acme") is None
    bench.close()
