"""Questions over HTTP and an ingestion that embeds and summarises share one budget: it is never passed, and all books agree."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import httpx
import pytest
import sqlalchemy as sa

from ragsaver.errors import BudgetExceeded
from ragsaver.ingestion.report import IngestReport
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import DatabaseSettings, Settings
from ragsaver.spend.ledger import DONE
from ragsaver.spend.money import MICRO
from ragsaver.spend.reports import find_receipt
from ragsaver.spend.tables import entries, leases
from tests.listening import listening
from tests.model_runs import tell_runs
from tests.openai_server import Script, openai_server
from tests.spend.ledgers import budget, check
from tests.spend.peaks import check_peaks, note_peaks

ASKED, AT_ONCE, RUNS, DOCUMENTS = 30, 6, 4, 4
LIMIT = 30_000
# A token embedded, as one of a language model's, is no whole number of micro-dollars.
PRICES = {"tiny": {"input_per_mtok": "3.7", "cached_input_per_mtok": "1.1", "output_per_mtok": "19.3"}}
USAGE = {"prompt_tokens": 101, "completion_tokens": 7, "total_tokens": 108}


@contextmanager
def served(folder: Path, url: str, database: DatabaseSettings) -> Iterator[tuple[httpx.Client, Runtime]]:
    settings = {
        "home": folder / "home",
        "database": database,
        "cache": {"answers": "off", "retrieval": False, "embeddings": False},
        "generation": {
            "extractive_first": False,
            "models": [{"name": "tiny", "base_url": url, "max_retries": 0, "max_output_tokens": 40}],
        },
        "ingestion": {"batch_chunks": 2},
    }
    with open_runtime(Settings.model_validate(settings), "a test") as runtime:
        text = "# Parrots\n\nThe permit is issued by the veterinary office.\n"
        runtime.ingestor.ingest_texts([PostedDocument("parrots.md", text, "markdown")], runtime.scope())
    settings |= {
        "outline": {"summary_model": "tiny", "summary_min_words": 20, "summary_max_tokens": 40},
        "spend": {
            "prices": PRICES,
            "embedding_per_mtok": "7.3",
            "pacing": {"enabled": False},
            "budgets": [budget("total", "month", LIMIT)],
        },
    }
    with open_runtime(Settings.model_validate(settings), "a test") as runtime:
        access = Access(LiveRuntime(runtime), "")
        with listening(create_app(access)) as at, httpx.Client(base_url=at, timeout=60) as client:
            yield client, runtime


def document(run: int, number: int) -> PostedDocument:
    name = f"animal{run} number{number}"
    text = f"# On {name}\n\n" + f"The {name} sleeps at night and eats by day, as all of its kind do. " * 4
    return PostedDocument(f"{run}-{number}.md", text, "markdown")


def brought_in(runtime: Runtime, run: int) -> IngestReport:
    """What a run did, whether its budget had room for all or not."""
    documents = [document(run, number) for number in range(DOCUMENTS)]
    try:
        return runtime.ingestor.ingest_texts(documents, runtime.scope())
    except BudgetExceeded as error:
        assert isinstance(error.report, IngestReport)
        return error.report


def added(reports: list[IngestReport]) -> int:
    return sum(one.documents.added for one in reports)


def waiting(reports: list[IngestReport]) -> int:
    return sum(one.documents.waiting for one in reports)


def test_questions_and_an_ingestion_at_once_pass_no_budget_and_all_books_agree(
    tmp_path: Path, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
):
    embedded: list[str] = []
    with (
        openai_server(script := Script(reply="The office issues it [1].", usage=USAGE)) as url,
        served(tmp_path, url, database) as (client, runtime),
    ):
        tell_runs(lambda texts, query: embedded.extend(() if query else texts), monkeypatch.setattr)
        note_peaks(ledger := runtime.resources.till.ledger)
        begin = Barrier(2)

        def ask(number: int) -> httpx.Response:
            if number == 0:
                begin.wait(60)
            return client.post("/v1/query", json={"query": f"Who issues permit number {number}?"})

        def ingest() -> list[IngestReport]:
            begin.wait(60)
            return [brought_in(runtime, run) for run in range(RUNS)]

        with ThreadPoolExecutor(AT_ONCE + 1) as pool:
            ingesting = pool.submit(ingest)
            answers = list(pool.map(ask, range(ASKED)))
            reports = ingesting.result()
        # until each has had money, and found none
        while len(reports) < 5 * RUNS and not (added(reports) and waiting(reports)):
            reports.append(brought_in(runtime, len(reports)))
        while len(answers) < 5 * ASKED and answers[-1].status_code != 429:
            answers.append(ask(len(answers)))
        runtime.resources.till.flush()
        with ledger.database.reading() as connection:
            assert connection.execute(sa.select(leases)).all() == []
            made = connection.execute(sa.select(entries).where(entries.c.task != "saving")).all()
        check(ledger)
        check_peaks(ledger)
        tokens = sum(runtime.encoder.count_tokens(embedded))

        # the endpoint, and the model that embeds, were asked for what is charged
        of_models = [one for one in made if one.task in ("answer", "summary")]
        assert {one.outcome for one in of_models} == {DONE} and len(of_models) == len(script.requests)
        said = sum(one.fresh + one.cache_read + one.output + one.reasoning for one in of_models)
        assert said == len(script.requests) * USAGE["total_tokens"]
        assert (
            sum(one.fresh for one in made if one.task == "ingest") == tokens == sum(r.embedding.tokens for r in reports)
        )

        # all that is charged is on somebody's receipt
        kept = [find_receipt(ledger, runtime.settings.tenant, one.headers["x-request-id"]) for one in answers]
        told = sum((one.receipt.cost_usd for one in kept if one is not None), Decimal(0))
        ingested = sum((one.receipt.cost_usd for one in reports), Decimal(0))
        assert (told + ingested) * MICRO == sum(one.cost for one in made) <= LIMIT
        summarised = sum(one.cost for one in made if one.task == "summary")
        assert sum(one.summaries.cost_usd for one in reports) * MICRO == summarised

    # Nothing of this was tried on too little.
    assert Counter(one.status_code for one in answers).keys() == {200, 429}
    assert {one.task for one in made if one.cost} >= {"answer", "summary", "ingest"}
    assert added(reports) and waiting(reports)
