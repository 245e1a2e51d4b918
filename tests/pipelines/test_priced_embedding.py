"""Embedding a question has a price: it is reserved in all budgets, on the receipt and in the ledger, and is saved where it
was done before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.components.account import account_left
from ragsaver.components.request import Request
from ragsaver.errors import BudgetExceeded, TooExpensive
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.estimating import estimate
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import BudgetSettings, Settings
from ragsaver.spend.budgets import Budgets
from ragsaver.spend.money import usd_of_tokens
from ragsaver.spend.receipt import EMBED_QUERY, OpenReceipt, Receipt
from ragsaver.spend.reports import budgets_report, find_receipt
from ragsaver.spend.tables import entries
from tests.openai_server import Script, openai_server
from tests.spend.ledgers import check

QUESTION = "Who issues the export permit for parrots?"
GUIDE = "# Parrots\n\nParrots need an export permit. The permit is issued by the veterinary office.\n"
PER_MTOK = Decimal(1000)


@contextmanager
def opened(tmp_path: Path, script: Script, **more) -> Iterator[Runtime]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    with openai_server(script) as url:
        values = {
            "home": tmp_path / "home",
            "generation": {"extractive_first": False, "models": [{"name": "tiny", "base_url": url, "max_retries": 0}]},
            "spend": {
                "prices": {"tiny": {"input_per_mtok": 1, "output_per_mtok": 10}},
                "embedding_per_mtok": PER_MTOK,
                "budgets": [{"scope": "total", "period": "day", "limit_usd": 1}],
            },
        }
        for section, wishes in more.items():
            values[section] = {**values.get(section, {}), **wishes}
        for_nothing = {**values, "spend": {**values["spend"], "embedding_per_mtok": 0}}
        with open_runtime(Settings.model_validate(for_nothing), "a test") as made:
            made.ingestor.ingest(IngestOrder(paths=("docs",), cwd=tmp_path), made.scope())
        with open_runtime(Settings.model_validate(values), "a test") as made:
            yield made


def ask(runtime: Runtime, request_id: str, question: str = QUESTION, **wishes) -> Receipt:
    request = Request(runtime.reading(), request_id=request_id, **wishes)
    return runtime.engine("query").ask(question, request).receipt


def embedded(receipt: Receipt) -> list:
    return [line for line in receipt.lines if line.stage == EMBED_QUERY]


def ledger_of(runtime: Runtime) -> dict[str, Decimal]:
    """Dollars by task; what budgets count is the same."""
    till = runtime.resources.till
    till.flush()
    check(till.ledger)
    with till.ledger.database.reading() as connection:
        rows = connection.execute(sa.select(entries.c.task, entries.c.cost)).all()
    (line,) = budgets_report(till.ledger).budgets
    assert line.spent_usd * 1_000_000 == sum(cost for _, cost in rows)
    sums: dict[str, Decimal] = {}
    for task, cost in rows:
        sums[task] = sums.get(task, Decimal(0)) + Decimal(cost) / 1_000_000
    return {task: cost for task, cost in sums.items() if cost}


def price(runtime: Runtime, question: str = QUESTION) -> Decimal:
    return usd_of_tokens(runtime.resources.encoder.count_tokens([question])[0], PER_MTOK)


def test_a_question_s_embedding_is_paid_once_and_saved_where_its_vector_was_there(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"answers": "off", "retrieval": False}) as runtime:
        first = ask(runtime, "req_1")
        (line,) = embedded(first)
        assert (line.cost_usd, line.saved_usd, line.unit) == (price(runtime), 0, "tokens") and line.cost_usd > 0
        assert line.item == runtime.resources.encoder.name
        kept = find_receipt(runtime.resources.till.ledger, "default", "req_1")
        assert ledger_of(runtime)["embed_query"] == line.cost_usd
        second = ask(runtime, "req_2")
        (again,) = embedded(second)
        assert (again.cost_usd, again.saved_usd) == (0, price(runtime))
        # the baseline embeds too
        assert first.baseline_usd == second.baseline_usd
        assert first.cost_usd - second.cost_usd == price(runtime)
        assert ledger_of(runtime)["embed_query"] == line.cost_usd
        kept = find_receipt(runtime.resources.till.ledger, "default", "req_1")
        assert kept is not None and kept.receipt == first


def test_without_a_price_it_costs_nothing_and_is_in_no_ledger(tmp_path: Path):
    with opened(tmp_path, Script(), spend={"embedding_per_mtok": 0}) as runtime:
        (line,) = embedded(ask(runtime, "req_1"))
        assert (line.cost_usd, line.saved_usd) == (0, 0) and line.quantity > 0
        assert "embed_query" not in ledger_of(runtime)


def test_looking_for_a_question_that_asks_the_same_is_on_the_receipt_too(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"answers": "semantic", "embeddings": False}) as runtime:
        assert len(embedded(ask(runtime, "req_1"))) == 1
        assert embedded(ask(runtime, "req_2")) == []  # the same words: nothing is embedded
        other = "Who does issue the export permit for parrots?"
        (line,) = embedded(ask(runtime, "req_3", other))
        assert line.cost_usd == price(runtime, other)
        assert ledger_of(runtime)["embed_query"] == price(runtime) + line.cost_usd


def test_a_search_is_charged_what_its_embedding_costs(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"embeddings": False}) as runtime:
        found = runtime.engine("query").search(QUESTION, Request(runtime.reading(), request_id="req_1"))
        assert found.receipt.cost_usd == price(runtime) == ledger_of(runtime)["embed_query"]


def by_token(receipt: Receipt) -> list:
    return [line for line in receipt.lines if line.item.startswith("maxsim")]


def test_reading_passages_by_the_token_is_paid_once_for_each(tmp_path: Path):
    wishes = {"answers": "off", "retrieval": False, "embeddings": False}, {"tokens_mb": 0}
    cache, embedding_cache = wishes
    with opened(
        tmp_path, Script(), context={"match": "tokens"}, cache=cache, embedding_cache=embedding_cache
    ) as runtime:
        first, second = ask(runtime, "req_1"), ask(runtime, "req_2")
        (line,) = by_token(first)
        assert line.cost_usd == usd_of_tokens(int(line.quantity), PER_MTOK) and line.quantity > 0
        assert by_token(second) == [], "what was read is in memory, and the question's tokens came with its vector"
        assert ledger_of(runtime)["pack"] == line.cost_usd


def test_what_was_read_when_passages_were_embedded_is_not_paid_for_again(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"answers": "off"}) as runtime:
        receipt = ask(runtime, "req_1")
        assert by_token(receipt) == [] and "pack" not in ledger_of(runtime)
        (packed,) = (line for line in receipt.lines if line.item == "context packed")
        assert packed.reason.endswith("by words and tokens")
        request = Request(runtime.reading(), caching="off")
        told = estimate(runtime.engine("query").prompt(QUESTION, request), runtime.resources)
        assert told.beside_usd == price(runtime)


def test_what_embedding_costs_counts_for_the_request_s_own_ceiling(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"answers": "off"}) as runtime:
        dear = ask(runtime, "req_1", max_cost=Decimal("0.05"))
        assert dear.cost_usd <= Decimal("0.05")
    receipt = OpenReceipt()
    receipt.add(EMBED_QUERY, "m", 1, "tokens", cost_usd=Decimal("0.03"))
    receipt.add("generate", "tiny", 1, "tokens", cost_usd=Decimal("0.01"))
    request = Request(runtime.reading(), max_cost=Decimal("0.05"))
    assert account_left(request, receipt).most == 20_000


def budgets(usd: str) -> dict:
    return {"budgets": [{"scope": "total", "period": "day", "limit_usd": usd}], "pacing": {"enabled": False}}


def test_a_question_that_a_budget_has_no_room_to_embed_is_refused_as_one_that_has_none_for_a_model(tmp_path: Path):
    with opened(tmp_path, Script(), spend=budgets("0.000001"), cache={"embeddings": False}) as runtime:
        request = Request(runtime.reading(), request_id="req_1")
        with pytest.raises(BudgetExceeded, match="may cost"):
            runtime.engine("query").ask(QUESTION, request)
        with pytest.raises(BudgetExceeded, match="may cost"):
            runtime.engine("query").search(QUESTION, request)
        estimate_of = estimate(runtime.engine("query").prompt(QUESTION, request), runtime.resources)
        assert estimate_of.refused is not None
        assert (estimate_of.refused.status, estimate_of.refused.type) == (429, BudgetExceeded.urn())
        assert ledger_of(runtime) == {}


def test_a_question_that_the_request_s_ceiling_has_no_room_to_embed_is_too_expensive(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"embeddings": False}) as runtime:
        request = Request(runtime.reading(), request_id="req_1", max_cost=Decimal("0.000001"))
        for engine in (runtime.engine("query").ask, runtime.engine("query").search):
            with pytest.raises(TooExpensive):
                engine(QUESTION, request)
        told = estimate(runtime.engine("query").prompt(QUESTION, request), runtime.resources).refused
        assert told is not None and told.status == 402
        assert ledger_of(runtime) == {}


def test_a_vector_that_is_there_reserves_nothing(tmp_path: Path):
    with opened(tmp_path, Script(), cache={"answers": "off", "retrieval": False}) as runtime:
        runtime.engine("query").search(QUESTION, Request(runtime.reading()))
        spent = ledger_of(runtime)
        found = runtime.engine("query").search(QUESTION, Request(runtime.reading(), max_cost=Decimal(0)))
        assert found.passages and ledger_of(runtime) == spent


def test_what_nobody_embeds_for_a_cache_is_only_not_found_there(tmp_path: Path):
    """The answer to a question in other words is not looked for; that of the same words is given."""
    cache, calm = {"answers": "semantic", "embeddings": False}, {"pacing": {"enabled": False}}
    with opened(tmp_path, Script(), cache=cache, spend=calm) as runtime:
        ask(runtime, "req_1")
        spent = sum(ledger_of(runtime).values())
        runtime.resources.till.ledger.budgets = Budgets([BudgetSettings(scope="total", period="day", limit_usd=spent)])
        engine = runtime.engine("query")
        assert engine.ask(QUESTION, Request(runtime.reading())).route.cache == "hit"
        with pytest.raises(BudgetExceeded):
            engine.ask("Who does issue the export permit for parrots?", Request(runtime.reading()))


def test_passages_that_nobody_pays_for_reading_by_the_token_are_packed_by_words(tmp_path: Path):
    cache = {"answers": "off", "retrieval": False}
    with opened(tmp_path, Script(), context={"match": "tokens"}, cache=cache) as runtime:
        only = price(runtime) + Decimal("0.000001")
        found = runtime.engine("query").search(QUESTION, Request(runtime.reading(), max_cost=only), explain=True)
        assert found.passages and set(ledger_of(runtime)) == {"embed_query"}
