"""A reranker that costs money is asked only where that was reserved: no budget, fuse or ceiling is passed by it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.explain import explaining
from ragsaver.components.request import Request, running
from ragsaver.components.rerank import ConditionalReranker
from ragsaver.components.resources import Resources, open_resources
from ragsaver.errors import StorageUnavailable
from ragsaver.index.scope import Scope
from ragsaver.settings import Settings
from ragsaver.spend.receipt import ReceiptLine, open_receipt
from ragsaver.spend.tables import entries
from tests.components.test_rerank import LONGEST_FIRST, PASSAGES, SAME, gate_file
from tests.rerank_server import Script, rerank_server
from tests.spend.ledgers import check

SHORT = [{"scope": "total", "period": "day", "limit_usd": "0.0025"}]


@contextmanager
def reranking(folder: Path, url: str, spend: dict | None = None, **rerank: object) -> Iterator[Resources]:
    values = {"backend": "remote", "url": url, "model": "big", "deadline_ms": 60_000, "mode": "always", **rerank}
    opened = open_resources(
        Settings.model_validate({"home": folder / "home", "rerank": values, "spend": spend or {}}), "a test"
    )
    try:
        yield opened
    finally:
        opened.close()
        opened.ownership.release()


def asked(given: Resources, request_id: str = "req_1", **wishes: object) -> tuple[list[str], ReceiptLine]:
    component = ConditionalReranker()
    component.bind(given)
    request = Request(Scope("acme", "docs"), request_id=request_id, **wishes)
    with running(request), open_receipt() as receipt, explaining(True) as explanation:
        found = component.run("Which is the longest?", PASSAGES)["documents"]
    (line,) = (line for line in receipt.close().lines if line.stage == "rerank")
    assert explanation is not None and explanation.told().rerank == line.reason
    return [one.id for one in found], line


def charged(given: Resources) -> list[tuple[str, int, str]]:
    check(given.till.ledger)
    with given.till.ledger.database.reading() as connection:
        made = connection.execute(sa.select(entries).order_by(entries.c.id)).all()
    return [(one.task, one.cost, one.outcome) for one in made]


def test_one_that_a_budget_has_no_room_for_is_not_asked_and_the_order_stays(tmp_path: Path):
    with (
        rerank_server(script := Script()) as url,
        reranking(tmp_path, url, {"budgets": SHORT, "pacing": {"enabled": False}}, usd_per_1k_calls=2) as given,
    ):
        assert asked(given)[0] == LONGEST_FIRST
        with gathering(Evidence()) as evidence:
            order, line = asked(given, "req_2")
        assert evidence._spoilt, "another time the answer may be better"
        counted = given.reranking.watch.decisions()
        assert charged(given) == [("rerank", 2000, "done")]
    assert order == SAME and len(script.requests) == 1
    assert line.reason.startswith("unpaid: the next call may cost $0.002, more than budget total per day has room for")
    assert line.reason.endswith("(budget total per day): the order stays")
    assert (line.cost_usd, line.quantity, counted["unpaid"]) == (0, 0, 1)


def test_one_that_the_request_s_ceiling_has_no_room_for_is_not_asked(tmp_path: Path):
    with rerank_server(script := Script()) as url, reranking(tmp_path, url, usd_per_1k_calls=2) as given:
        with gathering(Evidence()) as evidence:
            order, line = asked(given, max_cost=Decimal("0.0019"))
        assert evidence._spoilt is None, "the same request would never be answered better"
        assert (order, script.requests, charged(given)) == (SAME, [], [])
        assert line.reason.startswith("unpaid: the next call may cost $0.002") and "ceiling" in line.reason
        assert asked(given, "req_2", max_cost=Decimal("0.002"))[0] == LONGEST_FIRST


def test_where_the_ledger_can_not_be_written_it_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise StorageUnavailable("/a/path: the disk is full")

    with rerank_server(script := Script()) as url, reranking(tmp_path, url, usd_per_1k_calls=2) as given:
        monkeypatch.setattr(given.till.ledger, "reserve", broken)
        order, line = asked(given)
    assert (order, script.requests) == (SAME, [])
    assert line.reason == "unpaid: the ledger can't be asked now: the order stays"


@pytest.mark.parametrize(
    ("script", "cost", "outcome"),
    [
        (Script(status=500), 0, "nothing"),
        (Script(cut=True), 1000, "unknown"),
        (Script(hold=threading.Event()), 1000, "unknown"),
    ],
)
def test_what_nobody_bills_is_given_back_and_what_somebody_may_is_charged(
    tmp_path: Path, script: Script, cost: int, outcome: str
):
    deadline_ms = 300 if script.hold else 60_000
    with (
        rerank_server(script) as url,
        reranking(tmp_path, url, usd_per_1k_calls=1, deadline_ms=deadline_ms) as given,
    ):
        _, line = asked(given)
        assert charged(given) == [("rerank", cost, outcome)]
    assert line.cost_usd == Decimal(cost) / 1_000_000


def test_one_without_a_price_writes_nothing_into_the_ledger(tmp_path: Path):
    with rerank_server(Script()) as url, reranking(tmp_path, url, {"budgets": SHORT}, usd_per_1k_calls=0) as given:
        assert asked(given)[0] == LONGEST_FIRST
        assert given.till._ledger is None
    with reranking(tmp_path, "http://127.0.0.1:1", backend="maxsim") as given:
        assert asked(given)[1].cost_usd == 0
        assert given.till._ledger is None


def test_a_server_whose_price_nobody_set_costs_an_upper_one_or_is_not_asked(tmp_path: Path):
    upper = {"upper_price": {"input_per_mtok": 100, "output_per_mtok": 1}}
    with rerank_server(script := Script()) as url:
        with reranking(tmp_path, url, upper) as given:
            tokens = given.reranking._tokens("Which is the longest?", [one.content for one in PASSAGES])
            line = asked(given)[1]
            assert charged(given) == [("rerank", 100 * tokens, "done")]
            assert given.till.upper_charges.counts() == {"big": 1}
        assert line.cost_usd == Decimal(100 * tokens) / 1_000_000
        assert line.reason.endswith("price by spend.upper_price: `big` is on no price list")
        with reranking(tmp_path, url, {"unknown_price": "refuse"}) as given:
            order, line = asked(given, "req_2")
        assert order == SAME and len(script.requests) == 1
        assert line.reason == "unpaid: `big` is on no price list (spend.unknown_price): the order stays"


@pytest.mark.parametrize(("price", "cost"), [(3, True), (0, False)])
def test_a_server_whose_model_has_a_price_costs_that(tmp_path: Path, price: int, cost: bool):
    prices = {"big": {"input_per_mtok": price, "output_per_mtok": 0}}
    with rerank_server(Script()) as url, reranking(tmp_path, url, {"prices": prices}) as given:
        order, line = asked(given)
        assert order == LONGEST_FIRST and (line.cost_usd > 0) == cost
        assert (given.till._ledger is not None) == cost
        assert given.till.upper_charges.counts() == {}


@pytest.mark.parametrize("refused", ["budget", "ceiling"])
def test_no_sample_is_taken_that_nobody_pays_for(tmp_path: Path, refused: str):
    nothing = [{"scope": "tenant", "period": "day", "limit_usd": "0.0005"}]
    wishes = {"max_cost": Decimal(1)} if refused == "ceiling" else {}
    with rerank_server(script := Script()) as url:
        gated = {"mode": "gated", "gate": gate_file(tmp_path, "big", intercept=-9.0), "sample_skipped": 1}
        spend = {"budgets": nothing if refused == "budget" else [], "pacing": {"enabled": False}}
        with reranking(tmp_path, url, spend, usd_per_1k_calls=1, **gated) as given:
            asked(given, **wishes)
            given.reranking.watch.settle()
            assert charged(given) == [] and given.reranking.watch.regret().samples == 0
    assert script.requests == []
