"""Budgets are ceilings for what an ingestion embeds, too: what has no room waits, and the rest goes in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path

import pytest

from ragsaver.errors import BudgetExceeded
from ragsaver.index.scope import Scope
from ragsaver.ingestion.report import IngestReport
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.ledger import DONE, Call, Charge, open_ledger
from ragsaver.spend.reports import budgets_report
from ragsaver.spend.usage import TokenUsage
from tests.ingestion.bench import SCOPE, Bench
from tests.ingestion.test_charging import charged, micro, paid_tokens
from tests.ingestion.test_what_is_paid_for import text
from tests.spend.ledgers import budget

# A token costs ten micro-dollars.
PRICE = "10"

Opening = Callable[..., Bench]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    with ExitStack() as opened:

        def made(micro_dollars: int, scope: str = "tenant", period: str = "month", **more: object) -> Bench:
            wish = budget(scope, period, micro_dollars, "acme" if scope == "tenant" else None)
            spend = {"embedding_per_mtok": PRICE, "budgets": [wish.model_dump()]}
            bench = Bench(tmp_path, spend=spend, **{"ingestion": {"batch_chunks": 4}, **more})
            opened.callback(bench.close)
            return bench

        yield made


def cost_of(bench: Bench, *numbers: int) -> int:
    """Micro-dollars of a document, which is one chunk a number."""
    (bench.docs / "priced.md").write_text(text(*numbers))
    cost = bench.plan().embedding.cost_usd
    (bench.docs / "priced.md").unlink()
    return int(cost * 1_000_000)


def limit(bench: Bench, micro_dollars: int, **more: object) -> None:
    """Another budget in place of the old one."""
    (wish,) = bench.settings.spend.budgets
    changed = wish.model_copy(update={"limit_usd": Decimal(micro_dollars) / 1_000_000, **more})
    spend = bench.settings.spend.model_copy(update={"budgets": (changed,)})
    bench.settings = bench.settings.model_copy(update={"spend": spend})


def held(settings: Settings) -> int:
    with closing(open_ledger(settings)) as ledger:
        (line,) = budgets_report(ledger).budgets
        return int(line.held_usd * 1_000_000)


def refused(bench: Bench, **more: object) -> tuple[BudgetExceeded, IngestReport]:
    with pytest.raises(BudgetExceeded) as caught:
        bench.ingest(**more)
    assert isinstance(caught.value.report, IngestReport)
    return caught.value, caught.value.report


def test_what_a_budget_has_no_room_for_waits_and_goes_in_once_it_has(opening: Opening):
    bench = opening(3000)
    one = cost_of(bench, 1)
    limit(bench, 2 * one)
    for n in range(4):
        (bench.docs / f"{n}.md").write_text(text(n))
    error, report = refused(bench)
    assert (report.documents.seen, report.documents.added, report.documents.waiting) == (4, 2, 2)
    assert report.documents.failed == 0 and report.errors == ()
    assert error.budget == "tenant acme per month" and error.where == "budget tenant acme per month"
    assert (
        error.resets_at in str(error) and "docs/2.md, docs/3.md" in str(error) and "run the same command" in str(error)
    )
    assert error.retry_after_s > 0 and (error.status, error.exit_code) == (429, 2)
    assert sorted(bench.manifest.documents(SCOPE)) == ["docs/0.md", "docs/1.md"]
    assert bench.manifest.intents(SCOPE) == [] and len(bench.listed()) == len(bench.encoder.paid) == 2
    assert micro(bench.settings) == report.embedding.cost_usd * 1_000_000 == 2 * one
    assert held(bench.settings) == 0

    limit(bench, 1_000_000)
    assert bench.ingest().documents.added == 2
    assert sorted(bench.encoder.paid) == sorted(set(bench.encoder.paid))
    assert sum(line.fresh for line in charged(bench.settings)) == paid_tokens(bench)


def test_documents_that_embed_nothing_new_go_on(opening: Opening):
    bench = opening(10_000)
    (bench.docs / "known.md").write_text(text(1, 2))
    (bench.docs / "moved.md").write_text(text(3))
    bench.ingest()
    limit(bench, micro(bench.settings))
    (bench.docs / "a-new.md").write_text(text(9))
    (bench.docs / "both.md").write_text(text(1, 2, 3))
    (bench.docs / "moved.md").unlink()
    _, report = refused(bench, prune=True)
    assert (report.documents.added, report.documents.waiting, report.documents.deleted) == (1, 1, 1)
    assert sorted(bench.manifest.documents(SCOPE)) == ["docs/both.md", "docs/known.md"]
    assert len(bench.encoder.paid) == 3


def test_a_changed_document_that_waits_stays_as_it_was(opening: Opening):
    bench = opening(10_000)
    (bench.docs / "a.md").write_text(text(1, 2))
    bench.ingest()
    before = bench.listed()
    limit(bench, micro(bench.settings))
    (bench.docs / "a.md").write_text(text(1, 7))
    _, report = refused(bench)
    assert (report.documents.changed, report.documents.waiting) == (0, 1)
    assert bench.listed() == before and bench.verify().missing == 0


def test_what_one_that_goes_has_in_common_with_one_that_waits_is_not_paid_for_again(opening: Opening):
    bench = opening(10_000)
    (bench.docs / "old.md").write_text(text(1, 2))
    bench.ingest()
    with bench.cache._vectors._file.writing() as connection:
        connection.exec_driver_sql("DELETE FROM embeddings")
    limit(bench, micro(bench.settings))
    (bench.docs / "old.md").rename(bench.docs / "new.md")
    (bench.docs / "new.md").write_text(text(1, 2, 3))
    refused(bench, prune=True)
    assert bench.manifest.documents(SCOPE) == {}
    limit(bench, 1_000_000)
    assert bench.ingest().chunks.embedded == 1


def test_another_tenant_is_not_held_up_but_by_the_total(opening: Opening):
    bench = opening(10)
    (bench.docs / "a.md").write_text(text(1))
    refused(bench)
    assert bench.ingest(scope=Scope("rival", "docs")).documents.added == 1
    limit(bench, 10, scope="total", name=None)
    (bench.docs / "a.md").write_text(text(2))
    error, _ = refused(bench, scope=Scope("rival", "docs"))
    assert error.budget == "total per month"


def test_what_verify_makes_again_is_held_to_the_budget(opening: Opening):
    bench = opening(10_000)
    (bench.docs / "a.md").write_text(text(1, 2))
    bench.ingest()
    limit(bench, micro(bench.settings))
    bench.index.list_and_delete(SCOPE, [], sorted(bench.listed()))
    with bench.cache._vectors._file.writing() as connection:
        connection.exec_driver_sql("DELETE FROM embeddings")
    with pytest.raises(BudgetExceeded):
        bench.verify()
    limit(bench, 1_000_000)
    assert bench.verify().points == 0  # the document is marked, and the next ingestion redoes it
    bench.ingest()
    assert len(bench.listed()) == 2


def test_two_ingestions_and_calls_at_once_never_pass_a_budget(opening: Opening, tmp_path: Path):
    bench = opening(10_000, "total", ingestion={"batch_chunks": 1})
    one = cost_of(bench, 1)
    most = 25 * one + 3
    limit(bench, most)
    (tmp_path / "second").mkdir()
    second = Bench(tmp_path / "second", spend=bench.settings.spend, ingestion={"batch_chunks": 1})
    over: list[int] = []
    done = threading.Event()

    def ingest(work: Bench, prefix: int) -> None:
        shared = work.settings.model_copy(update={"home": bench.settings.home})
        work.settings = shared
        posted = [PostedDocument(f"{prefix}-{n}.md", text(prefix + n)) for n in range(30)]
        with closing(work.ingestor()) as ingestor, pytest.raises(BudgetExceeded):
            ingestor.ingest_texts(posted, SCOPE)

    def ask() -> None:
        call = Call("small", "model", "answer", 10, "book")
        with closing(open_ledger(bench.settings)) as ledger:
            for _ in range(40):
                try:
                    lease = ledger.reserve(Account("acme"), call, Hold(one, 10), None, 60)
                except BudgetExceeded:
                    continue
                ledger.settle(lease, Charge(one // 3, TokenUsage(fresh=1), DONE))

    def watch() -> None:
        with closing(open_ledger(bench.settings)) as ledger:
            while not done.is_set():
                (line,) = budgets_report(ledger).budgets
                over.append(int((line.spent_usd + line.held_usd) * 1_000_000))

    watching = threading.Thread(target=watch)
    watching.start()
    workers = [
        threading.Thread(target=ingest, args=(bench, 1000)),
        threading.Thread(target=ingest, args=(second, 2000)),
        threading.Thread(target=ask),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    watching.join()
    spent = micro(bench.settings)
    embedded = sum(bench.encoder.count_tokens([*bench.encoder.paid, *second.encoder.paid]))
    assert max(over) <= most and most - one < spent <= most
    assert sum(line.fresh for line in charged(bench.settings) if line.task == "ingest") == embedded
    assert held(bench.settings) == 0
    second.close()
