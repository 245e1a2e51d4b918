"""What a question costs is on its receipt, in the ledger, and kept: also where it fails or nobody waits for it."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.components.request import Request
from ragsaver.errors import BudgetExceeded, GenerationError
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.reports import find_receipt, usage_report
from ragsaver.spend.tables import entries
from tests.openai_server import Script, openai_server
from tests.spend.ledgers import check

QUESTION = "Who issues the export permit for parrots?"
GUIDE = "# Parrots\n\nParrots need an export permit. The permit is issued by the veterinary office.\n"
PRICES = {"tiny": {"input_per_mtok": 1, "cached_input_per_mtok": "0.5", "output_per_mtok": 10}}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def runtime(tmp_path: Path, script: Script):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    with openai_server(script) as url:
        models = [{"name": "tiny", "base_url": url, "max_retries": 0, "max_output_tokens": 100}]
        budgets = [{"scope": "principal", "name": "default/poor", "period": "day", "limit_usd": "0.0001"}]
        settings = Settings.model_validate(
            {
                "home": tmp_path / "home",
                "generation": {"extractive_first": False, "models": models},
                "spend": {"prices": PRICES, "budgets": budgets, "pacing": {"enabled": False}},
            }
        )
        with open_runtime(settings, "a test") as opened:
            opened.ingestor.ingest(IngestOrder(paths=("docs",), cwd=tmp_path), opened.scope())
            yield opened


def asked(runtime: Runtime, request_id: str, principal: str | None = None) -> Request:
    return Request(runtime.reading(), principal, request_id=request_id, caching="off")


def kept(runtime: Runtime, request_id: str):
    till = runtime.resources.till
    till.flush()
    found = find_receipt(till.ledger, "default", request_id)
    check(till.ledger)
    with till.ledger.database.reading() as connection:
        mine = connection.execute(sa.select(entries).where(entries.c.request_id == request_id)).all()
    assert Decimal(sum(one.cost for one in mine)) / 1_000_000 == found.receipt.cost_usd
    return found


def test_an_answer_and_the_question_that_failed_have_their_receipts_kept(runtime: Runtime, script: Script):
    result = runtime.engine().ask(QUESTION, asked(runtime, "req_good"))
    script.statuses = [500]
    with pytest.raises(GenerationError):
        runtime.engine().ask(QUESTION, asked(runtime, "req_bad"))
    good, bad = kept(runtime, "req_good"), kept(runtime, "req_bad")
    assert (good.complete, good.receipt.cost_usd, good.pipeline) == (True, Decimal("0.00028"), "query")
    assert good.receipt.saved_usd == pytest.approx(result.receipt.saved_usd)
    assert not bad.complete and bad.receipt.cost_usd > Decimal("0.001")
    report = usage_report(runtime.resources.till.ledger)
    assert report.total.cost_usd == good.receipt.cost_usd + bad.receipt.cost_usd
    assert report.total.saved_usd > 0


def test_whoever_leaves_a_stream_is_charged_what_it_held(runtime: Runtime):
    async def leave() -> None:
        parts = runtime.engine().stream(QUESTION, asked(runtime, "req_left"))
        async for _ in parts:
            break
        await parts.aclose()

    asyncio.run(leave())
    left = kept(runtime, "req_left")
    # The stub's stream is short: it may have come to its end before.
    assert left.receipt.cost_usd >= Decimal("0.00028")


def test_a_question_that_its_budget_has_no_room_for_reaches_no_endpoint(runtime: Runtime, script: Script):
    with pytest.raises(BudgetExceeded, match="principal default/poor per day"):
        runtime.engine().ask(QUESTION, asked(runtime, "req_poor", "poor"))
    assert script.requests == []
    assert kept(runtime, "req_poor").receipt.cost_usd == 0
    assert runtime.engine().ask(QUESTION, asked(runtime, "req_rich", "rich")).answer
