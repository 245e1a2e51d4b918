"""What is embedded is held before and charged once, whoever dies in between; no budget is ever passed."""

import threading
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.errors import BudgetExceeded
from ragsaver.settings import DatabaseSettings
from ragsaver.spend.budgets import Account
from ragsaver.spend.embedded_tokens import LASTS_S, charge_embedded, reserve_embedding
from ragsaver.spend.ledger import EXPIRED, Lease, Ledger
from ragsaver.spend.money import MICRO, charged
from ragsaver.spend.tables import entries, leases
from tests.clock import Clock
from tests.spend.ledgers import budget, check, ledger

PRICE = Decimal("0.37")
ONE, TWO = Account("acme", request_id="job-1"), Account("acme", request_id="job-2")
RIVAL = Account("rival", request_id="job-3")


def reserve(book: Ledger, **tokens: int) -> dict[Account, Lease]:
    names = {"one": ONE, "two": TWO, "rival": RIVAL}
    return reserve_embedding(book, {names[name]: count for name, count in tokens.items()}, "model", PRICE)


def charge(book: Ledger, account: Account, tokens: int, *own: Lease) -> int:
    return charge_embedded(book, account, "model", tokens, PRICE, own)


def costs(book: Ledger, account: Account = ONE) -> list[tuple[int, int, str]]:
    """Tokens, micro-dollars and outcome of each charge that is one."""
    asked = sa.select(entries.c.fresh, entries.c.cost, entries.c.outcome).where(
        entries.c.request_id == account.request_id, entries.c.cost > 0
    )
    with book.database.reading() as connection:
        return [tuple(row) for row in connection.execute(asked.order_by(entries.c.id))]


def held(book: Ledger) -> int:
    with book.database.reading() as connection:
        return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(leases.c.held), 0))))


def worth(tokens: int) -> int:
    return charged(tokens * PRICE / MICRO)


def test_all_are_held_or_none_is(tmp_path: Path, database: DatabaseSettings):
    wishes = [budget("tenant", "day", 100, "rival"), budget("total", "day", 1000)]
    with ledger(tmp_path, database, wishes) as book:
        with pytest.raises(BudgetExceeded, match="the next batch of texts may cost") as error:
            reserve(book, one=300, rival=300)
        assert error.value.budget == "tenant rival per day" and held(book) == 0
        with pytest.raises(BudgetExceeded) as error:  # each alone would fit
            reserve(book, one=1400, two=1400)
        assert error.value.budget == "total per day" and held(book) == 0
        reserve(book, one=300, two=300, rival=200)
        assert held(book) == 2 * worth(300) + worth(200)
        check(book)


def test_what_is_charged_is_rounded_up_once_for_all_batches_of_a_request(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database) as book:
        total = sum(charge(book, ONE, n, *reserve(book, one=1).values()) for n in range(1, 11))
        assert total == worth(10) < 10 * worth(1) and held(book) == 0
        assert charge(book, ONE, 10) == 0
        check(book)


def test_what_was_held_and_not_needed_is_given_back(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database) as book:
        assert charge(book, ONE, 0, *reserve(book, one=100).values()) == 0
        assert (held(book), costs(book)) == (0, [])


def test_one_that_nobody_settles_is_charged_in_the_end(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, clock=clock) as book:
        reserve(book, one=100)
        clock.now += LASTS_S + 1
        book.expire_due()
        assert (held(book), costs(book)) == (0, [(100, worth(100), EXPIRED)])
        # and pays for who does it again
        assert charge(book, ONE, 100, *reserve(book, one=100).values()) == 0
        assert charge(book, ONE, 150, *reserve(book, one=50).values()) == worth(150) - worth(100)
        check(book)


def test_one_that_somebody_went_on_from_is_not_charged_in_the_end(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, clock=clock) as book:
        reserve(book, one=100)
        clock.now += 1
        assert charge(book, ONE, 100, *reserve(book, one=100).values()) == worth(100)
        assert held(book) == worth(100)
        clock.now += LASTS_S + 1
        book.expire_due()
        assert held(book) == 0 and sum(cost for _, cost, _ in costs(book)) == worth(100)
        check(book)


def test_what_the_bill_has_beyond_is_paid_from_what_the_dead_one_held(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, [budget("tenant", "day", worth(100), "acme")], clock=clock) as book:
        reserve(book, one=100)
        clock.now += 1
        assert charge(book, ONE, 100) == worth(100)
        assert held(book) == 0
        check(book)


STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "bill", "settle", "die", "wait", "end"]), st.integers(1, 400)), max_size=25
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_the_budget_holds_and_the_bill_is_charged_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
):
    """One attempt after the other, each of which may die with or without a bill."""
    clock = Clock()
    wishes = [budget("tenant", "month", 500, "acme")]
    with ledger(tmp_path_factory.mktemp("ledger"), DatabaseSettings(), wishes, clock=clock) as book:
        bill, own, billed = 0, [], False
        for step, tokens in steps:
            clock.now += 1
            if step == "reserve" and not own:
                charge(book, ONE, bill)
                try:
                    own, billed = [*reserve(book, one=tokens).values()], False
                except BudgetExceeded:
                    own = []
            elif step == "bill" and own and not billed:
                bill, billed = bill + own[0].call.prompt_tokens, True
            elif step == "settle" and own:
                charge(book, ONE, bill, *own)
                own = []
            elif step == "die":
                own = []
            elif step == "wait" and not own:
                clock.now += LASTS_S + 1
                book.expire_due(at_once=True)
            check(book)
        charge(book, ONE, bill, *own)
        check(book)
        done = costs(book)
        assert sum(count for count, _, _ in done) >= bill
        if all(outcome != EXPIRED for _, _, outcome in done):
            assert (sum(count for count, _, _ in done), sum(cost for _, cost, _ in done)) == (bill, worth(bill))


def test_many_at_once_never_pass_a_budget(tmp_path: Path, database: DatabaseSettings):
    most = 40 * worth(10) + 1
    with ledger(tmp_path, database, [budget("total", "month", most)]) as book:
        refusals: list[BudgetExceeded] = []

        def ingest(name: str) -> None:
            account, done = Account("acme", request_id=name), 0
            for _ in range(15):
                try:
                    own = reserve_embedding(book, {account: 10}, "model", PRICE)
                except BudgetExceeded as error:
                    refusals.append(error)
                    continue
                done += 10
                charge(book, account, done, *own.values())

        threads = [threading.Thread(target=ingest, args=(f"run-{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(book)
        assert refusals and held(book) == 0
