"""What costs something and is no model's call is reserved as one is: no budget, fuse or ceiling is passed by it."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.errors import BudgetExceeded, FuseBlown, RagSaverError, StorageError, TooExpensive
from ragsaver.settings import BudgetSettings, Settings
from ragsaver.spend.budgets import Account, Budgets
from ragsaver.spend.ledger import DONE, NOTHING, UNKNOWN, Ledger, ledger_place
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.tables import entries, windows
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage
from tests.clock import Clock
from tests.spend.ledgers import budget, check

ALICE = Account("acme", "alice", "query", "req_1")
PRICES = {"tiny": {"input_per_mtok": "1", "output_per_mtok": "1"}}


def usd(micro: int) -> Decimal:
    return Decimal(micro) / 1_000_000


@contextmanager
def counter(home: Path, *wishes: BudgetSettings, clock: Clock | None = None, **spend: object) -> Iterator[Till]:
    given = Settings.model_validate(
        {"home": home, "spend": {"budgets": [one.model_dump() for one in wishes], "prices": PRICES, **spend}}
    )
    book = Ledger(ledger_place(given), Budgets(wishes), clock or Clock())
    till = Till(given, PriceBook.of(given.spend), lambda texts: [1 for _ in texts], lambda: book)
    try:
        yield till
    finally:
        till.close()


def charges(till: Till) -> list[tuple[str, int, str]]:
    check(till.ledger)
    with till.ledger.database.reading() as connection:
        made = connection.execute(sa.select(entries).where(entries.c.task != "saving").order_by(entries.c.id)).all()
    return [(one.task, one.cost, one.outcome) for one in made]


@pytest.mark.parametrize(
    ("outcome", "took", "cost"), [(DONE, None, 600), (DONE, 250, 250), (NOTHING, None, 0), (UNKNOWN, None, 600)]
)
def test_what_is_held_is_nobody_else_s_until_it_is_settled(tmp_path: Path, outcome: str, took: int | None, cost: int):
    with counter(tmp_path, budget("total", "day", 2000), budget("tenant", "day", 1000)) as till:
        purse = till.purse(ALICE)
        fee = purse.reserve("big", "rerank", usd(600), 1)
        with pytest.raises(BudgetExceeded, match=r"0\.0004"):
            purse.foresee(usd(600))
        with pytest.raises(BudgetExceeded) as refused:
            purse.reserve("big", "rerank", usd(600), 1)
        assert "max_output_tokens" not in refused.value.remedy
        assert fee.settle(outcome, None if took is None else usd(took)) == usd(cost)
        assert charges(till) == [("rerank", cost, outcome)]
        purse.foresee(usd(1000 - cost))


def test_a_ceiling_is_one_for_fees_and_calls_together(tmp_path: Path):
    with counter(tmp_path, prompt_margin=0) as till, open_receipt():
        account = replace(ALICE, most=1000)
        till.purse(account).reserve("m", "embed_query", usd(100), 1).settle(DONE)
        till.purse(account).reserve("big", "rerank", usd(600), 1).settle(DONE)
        with pytest.raises(TooExpensive, match=r"0\.0003 are left"):
            till.purse(account).reserve("big", "rerank", usd(600), 1)
        call = {"tier": "small", "model": "tiny", "task": "answer", "prompt_tokens": 99, "lasts_s": 1}
        with pytest.raises(TooExpensive):
            till.reserve(account, most=300, **call)
        till.settle(till.reserve(account, most=200, **call), DONE, TokenUsage(fresh=100, output=200))
        assert sum(cost for _, cost, _ in charges(till)) == 1000


def test_a_fuse_that_is_blown_lets_none_through(tmp_path: Path):
    clock = Clock()
    with counter(tmp_path, clock=clock, fuse={"floor_usd": "0.01"}) as till:
        with pytest.raises(FuseBlown):
            for _ in range(40):
                till.purse(ALICE).reserve("big", "rerank", usd(1000), 1).settle(DONE)
                clock.now += 3
        assert sum(cost for _, cost, _ in charges(till)) <= 12_000
        till.purse(Account("other")).reserve("big", "rerank", usd(1000), 1).settle(NOTHING)


def test_one_whose_process_died_is_charged_what_it_held(tmp_path: Path):
    clock = Clock()
    with counter(tmp_path, budget("tenant", "month", 1000), clock=clock) as till:
        dead = till.purse(ALICE).reserve("big", "rerank", usd(600), 1)
        clock.now += 62
        till.ledger.expire_due(at_once=True)
        assert charges(till) == [("rerank", 600, "expired")]
        dead.settle(NOTHING)  # it was only slow
        assert charges(till)[1:] == [("rerank", -600, "corrected")]


def test_what_can_not_be_settled_now_is_before_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with counter(tmp_path, budget("total", "day", 1000)) as till:
        fee = till.purse(ALICE).reserve("big", "rerank", usd(600), 1)
        settle = till.ledger.settle

        def broken(*_: object) -> bool:
            raise StorageError("the disk is full")

        monkeypatch.setattr(till.ledger, "settle", broken)
        assert fee.settle(DONE, usd(100)) == usd(100)
        assert charges(till) == []
        monkeypatch.setattr(till.ledger, "settle", settle)
        till.purse(ALICE).reserve("big", "rerank", usd(900), 1)
        assert charges(till) == [("rerank", 100, DONE)]


def test_what_goes_on_when_the_receipt_is_closed_is_a_request_of_its_own_and_none_where_there_is_a_ceiling(
    tmp_path: Path,
):
    with counter(tmp_path) as till:
        beside = till.purse(ALICE).beside("rerank-sample")
        assert beside is not None and beside.account == replace(ALICE, request_id=beside.account.request_id)
        assert beside.account.request_id.startswith("rerank-sample_")
        assert till.purse(replace(ALICE, most=1_000_000)).beside("rerank-sample") is None


step = st.one_of(
    st.tuples(st.just("fee"), st.sampled_from(["acme", "other"]), st.sampled_from(["rerank", "embed_query"])),
    st.tuples(st.just("call"), st.sampled_from(["acme", "other"]), st.just("answer")),
    st.tuples(st.just("settle"), st.integers(0, 30), st.sampled_from([DONE, UNKNOWN, NOTHING])),
    st.tuples(st.just("wait"), st.sampled_from([1, 61, 3600]), st.just("")),
)


@given(
    st.lists(st.tuples(step, st.integers(1, 60), st.booleans()), max_size=40),
    st.lists(st.integers(1, 200), min_size=2, max_size=2),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_fees_and_calls_in_any_order_pass_no_budget_and_no_ceiling(steps, limits):
    clock, ids = Clock(), itertools.count()
    wishes = [budget("total", "day", limits[0]), budget("tenant", "hour", limits[1])]
    with tempfile.TemporaryDirectory() as folder, counter(Path(folder), *wishes, clock=clock) as till, open_receipt():
        fees, calls = [], []
        for (kind, what, how), micro, capped in steps:
            request = f"req_{next(ids) % 4}{'c' * capped}"
            account = Account(str(what), None, None, request, 100 if capped else None)
            with suppress(RagSaverError):
                if kind == "fee":
                    fees.append(till.purse(account).reserve("m", str(how), usd(micro), 1))
                elif kind == "call":
                    call = {"tier": "small", "model": "tiny", "task": "answer", "prompt_tokens": micro, "most": micro}
                    calls.append(till.reserve(account, lasts_s=1, **call))
            if kind == "settle" and fees and micro % 2:
                fees[what % len(fees)].settle(how, usd(min(micro, fees[what % len(fees)].lease.hold.cost)))
            elif kind == "settle" and calls:
                till.settle(calls[what % len(calls)], how, TokenUsage(fresh=1))
            elif kind == "wait":
                clock.now += what
                till.ledger.expire_due(at_once=True)
            check(till.ledger)
            with till.ledger.database.reading() as connection:
                used = connection.execute(sa.select(windows).where(windows.c.kind == "request")).all()
            assert all(one.spent + one.reserved <= 100 for one in used)
