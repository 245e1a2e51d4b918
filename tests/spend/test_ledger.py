"""A budget is a ceiling: whatever is reserved, settled, lost or late, it is never passed, and every sum agrees."""

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.errors import BudgetExceeded, RagSaverError, TooExpensive
from ragsaver.settings import DatabaseSettings
from ragsaver.spend.budgets import Account, Hold, period_at
from ragsaver.spend.kept_receipts import Over
from ragsaver.spend.ledger import CORRECTED, DONE, EXPIRED, NOTHING, UNKNOWN, Call, Charge
from ragsaver.spend.receipt import Receipt
from ragsaver.spend.tables import entries, receipts, windows
from ragsaver.spend.usage import TokenUsage
from tests.clock import Clock
from tests.databases import database as kept_in
from tests.databases import needs_postgres
from tests.spend.ledgers import budget, check, ledger
from tests.spend.peaks import check_peaks, note_peaks

ALICE = Account("acme", "alice", "query", "req_1")
CALL = Call("small", "tiny", "answer", 100, "book 1")


def hold(cost: int) -> Hold:
    return Hold(cost, cost)


def charge(cost: int, outcome: str = DONE) -> Charge:
    return Charge(cost, TokenUsage(fresh=cost), outcome)


def test_what_is_reserved_can_not_be_reserved_again(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database, [budget("tenant", "day", 100)]) as book:
        first = book.reserve(ALICE, CALL, hold(60), None, 60)
        with pytest.raises(BudgetExceeded) as caught:
            book.reserve(ALICE, CALL, hold(60), None, 60)
        assert (caught.value.budget, caught.value.retry_after_s) == ("tenant acme per day", 2)
        check(book)
        book.settle(first, charge(30))
        book.reserve(ALICE, CALL, hold(60), None, 60)
        book.reserve(Account("other"), CALL, hold(60), None, 60)
        check(book)


def test_of_several_budgets_without_room_the_one_that_lasts_is_told_and_not_the_one_that_is_only_held(
    tmp_path: Path, database: DatabaseSettings
):
    clock = Clock()
    with ledger(tmp_path, database, [budget("tenant", "hour", 100), budget("total", "month", 200)], clock) as book:
        book.settle(book.reserve(ALICE, CALL, hold(90), None, 60), charge(90))
        book.reserve(Account("umbrella"), CALL, hold(100), None, 60)
        with pytest.raises(BudgetExceeded) as caught:
            book.reserve(ALICE, CALL, hold(30), None, 60)
        _, ends = period_at("hour", clock())
        assert caught.value.budget == "tenant acme per hour"
        assert clock() + caught.value.retry_after_s == pytest.approx(ends, abs=2)


def test_a_call_that_costs_more_than_a_whole_budget_is_not_told_to_come_again(
    tmp_path: Path, database: DatabaseSettings
):
    with ledger(tmp_path, database, [budget("tenant", "hour", 100), budget("total", "month", 200)]) as book:
        book.settle(book.reserve(ALICE, CALL, hold(90), None, 60), charge(90))
        with pytest.raises(BudgetExceeded, match="the next call may cost more than all of it") as caught:
            book.reserve(ALICE, CALL, hold(101), None, 60)
        assert (caught.value.budget, caught.value.retry_after_s) == ("tenant acme per hour", None)


def test_a_refusal_says_which_budget_what_is_left_and_when_it_begins_anew(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, [budget("total", "hour", 100), budget("tenant", "month", 90)], clock) as book:
        book.settle(book.reserve(ALICE, CALL, hold(80), None, 60), charge(80))
        with pytest.raises(BudgetExceeded, match=r"cost \$0.00003, and of \$0.00009 \$0.00001 are left") as caught:
            book.reserve(ALICE, CALL, hold(30), None, 60)
        _, ends = period_at("month", clock())
        assert caught.value.budget == "tenant acme per month"
        assert caught.value.resets_at == "2026-10-01T00:00:00+00:00"
        assert clock() + caught.value.retry_after_s == pytest.approx(ends, abs=2)
        clock.now = ends
        book.reserve(ALICE, CALL, hold(30), None, 60)
        check(book)


def test_of_several_budgets_all_admit_a_call_or_none_is_touched(tmp_path: Path, database: DatabaseSettings):
    wishes = [budget("principal", "hour", 50), budget("tenant", "day", 1000), budget("total", "month", 1000)]
    with ledger(tmp_path, database, wishes) as book:
        book.reserve(ALICE, CALL, hold(40), None, 60)
        with pytest.raises(BudgetExceeded, match="principal acme/alice per hour"):
            book.reserve(ALICE, CALL, hold(40), None, 60)
        with book.database.reading() as connection:
            assert set(connection.scalars(sa.select(windows.c.reserved))) == {40}
        book.reserve(replace(ALICE, principal="bob"), CALL, hold(40), None, 60)
        check(book)


def test_a_budget_with_a_name_goes_before_one_without(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database, [budget("tenant", "day", 10), budget("tenant", "day", 500, "acme")]) as book:
        book.reserve(ALICE, CALL, hold(400), None, 60)
        with pytest.raises(BudgetExceeded):
            book.reserve(Account("other"), CALL, hold(400), None, 60)


def test_a_request_has_a_ceiling_of_its_own_over_all_its_attempts(tmp_path: Path, database: DatabaseSettings):
    asked = replace(ALICE, most=100)
    with ledger(tmp_path, database) as book:
        book.settle(book.reserve(asked, CALL, hold(60), None, 60), charge(50))
        with pytest.raises(TooExpensive, match="ceiling"):
            book.reserve(asked, CALL, hold(60), None, 60)
        book.reserve(asked, CALL, hold(50), None, 60)
        book.reserve(replace(asked, request_id="req_2"), CALL, hold(100), None, 60)
        check(book)


def test_a_lease_whose_process_died_is_charged_what_it_held_and_corrected_if_it_did_not_die(
    tmp_path: Path, database: DatabaseSettings
):
    clock = Clock()
    with ledger(tmp_path, database, [budget("total", "day", 100)], clock) as book:
        late = book.reserve(ALICE, CALL, hold(100), None, 60)
        clock.now += 61
        with pytest.raises(BudgetExceeded):
            book.reserve(ALICE, CALL, hold(1), None, 60)
        check(book)
        assert book.settle(late, charge(30))
        assert not book.settle(late, charge(30))
        check(book)
        with book.database.reading() as connection:
            made = connection.execute(sa.select(entries.c.outcome, entries.c.cost).order_by(entries.c.number)).all()
        assert made == [(EXPIRED, 100), (CORRECTED, -70)]
        book.reserve(ALICE, CALL, hold(70), None, 60)


def test_a_lease_is_settled_once(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database) as book:
        lease = book.reserve(ALICE, CALL, hold(10), None, 60)
        assert book.settle(lease, charge(5))
        assert not book.settle(lease, charge(7))
        check(book)


def test_where_a_budget_is_short_a_call_holds_what_answers_were_learned_to_need(
    tmp_path: Path, database: DatabaseSettings
):
    with ledger(tmp_path, database, [budget("total", "day", 1000)]) as book:
        assert book.reserve(ALICE, CALL, hold(20), hold(5), 60).hold == hold(20)
        assert book.reserve(ALICE, CALL, hold(20), hold(5), 60).hold == hold(5)
        assert book.reserve(replace(ALICE, most=100), CALL, hold(10), hold(5), 60).hold == hold(10)


def test_windows_of_hours_and_requests_are_forgotten_after_a_week(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, [], clock) as book:
        late = book.reserve(replace(ALICE, most=100), CALL, hold(10), None, 60)
        clock.now += 9 * 86_400
        book.expire_due()
        clock.now += 9 * 86_400
        assert book.prune() == 5
        assert book.settle(late, charge(3))
        check(book)


@pytest.mark.parametrize("period", ["hour", "day", "month"])
@given(st.floats(0, 4e9))
def test_a_moment_is_in_its_period_and_periods_follow_each_other(period: str, at: float):
    start, end = period_at(period, at)
    assert start <= at < end
    assert period_at(period, end)[0] == end


step = st.one_of(
    st.tuples(
        st.just("reserve"), st.sampled_from(["acme", "other"]), st.sampled_from(["a", "b", None]), st.integers(0, 60)
    ),
    st.tuples(st.just("settle"), st.integers(0, 30), st.floats(0, 1), st.sampled_from([DONE, UNKNOWN, NOTHING])),
    st.tuples(st.just("wait"), st.sampled_from([1, 61, 3600, 86_400])),
    st.tuples(st.just("reopen")),
)


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 60), pytest.param("postgres", 15, marks=needs_postgres)])
def test_whatever_happens_no_budget_is_passed_and_all_sums_agree(kind: str, examples: int):
    @given(st.lists(step, max_size=40), st.lists(st.integers(1, 150), min_size=4, max_size=4))
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    def holds(steps: list, limits: list[int]) -> None:
        with tempfile.TemporaryDirectory() as folder, kept_in(kind) as where:
            go_through(steps, limits, Path(folder), where)

    holds()


def go_through(steps: list, limits: list[int], folder: Path, where: DatabaseSettings) -> None:
    wishes = [
        budget("total", "month", limits[0]),
        budget("tenant", "day", limits[1]),
        budget("principal", "hour", limits[2]),
        budget("pipeline", "day", limits[3], "query"),
    ]
    clock, leases, numbers = Clock(), [], itertools.count()
    ceilings: dict[str, int] = {}
    made = ledger(folder, where, wishes, clock)
    book = made.__enter__()
    note_peaks(book)
    for one in steps:
        if one[0] == "reserve":
            pipeline = "query" if one[3] % 2 else None
            most = one[3] if one[3] % 3 == 0 else None
            account = Account(one[1], one[2], pipeline, f"req_{next(numbers) % 4}", most)
            if most is not None:
                ceilings[account.request] = max(most, ceilings.get(account.request, 0))
            with suppress(RagSaverError):
                leases.append(book.reserve(account, CALL, hold(one[3]), hold(one[3] // 2), 60))
        elif one[0] == "settle" and leases:
            # Those that were settled or are lost come again.
            lease = leases[one[1] % len(leases)]
            share = 1 if one[3] == UNKNOWN else 0 if one[3] == NOTHING else one[2]
            book.settle(lease, charge(int(lease.hold.cost * share), one[3]))
        elif one[0] == "wait":
            clock.now += one[1]
        elif one[0] == "reopen":
            made.__exit__(None, None, None)
            made = ledger(folder, where, wishes, clock)
            book = made.__enter__()
        check(book)
    clock.now += 3600
    book.expire_due(at_once=True)
    check(book)
    if any(lease.hold.cost for lease in leases):
        check_peaks(book, ceilings)
    with book.database.reading() as connection:
        assert sum(connection.scalars(sa.select(windows.c.reserved))) == 0
    made.__exit__(None, None, None)


def test_threads_that_reserve_at_once_do_not_pass_it(tmp_path: Path, database: DatabaseSettings):
    with ledger(tmp_path, database, [budget("total", "day", 1000), budget("tenant", "hour", 600)]) as book:

        def spend(number: int) -> int:
            try:
                lease = book.reserve(Account(["acme", "other"][number % 2]), CALL, hold(50), None, 60)
            except BudgetExceeded:
                return 0
            book.settle(lease, charge(50))
            return 50

        with ThreadPoolExecutor(16) as pool:
            spent = sum(pool.map(spend, range(64)))
        assert spent == 1000
        check(book)


def test_a_ledger_that_moves_goes_on_where_it_was(tmp_path: Path, database: DatabaseSettings):
    wishes = [budget("total", "day", 100)]
    with ledger(tmp_path / "old", DatabaseSettings(), wishes) as old, ledger(tmp_path, database, wishes) as new:
        running = old.reserve(ALICE, CALL, hold(30), None, 60)
        old.settle(old.reserve(ALICE, CALL, hold(60), None, 60), charge(50))
        old.keep_receipts([Over(ALICE, Receipt(saved_usd=Decimal("0.000005")), complete=True)])
        copied = new.copy_from(old)
        assert (copied["entries"], copied["leases"], copied["receipts"]) == (2, 1, 1)
        assert new.copy_from(old) == copied
        with pytest.raises(BudgetExceeded):
            new.reserve(ALICE, CALL, hold(21), None, 60)
        new.settle(running, charge(30))
        new.keep_receipts([Over(ALICE, Receipt(saved_usd=Decimal("0.000005")), complete=True)])
        new.reserve(ALICE, CALL, hold(20), None, 60)
        check(new)


def test_what_is_written_again_since_nobody_heard_that_it_was_counts_once(tmp_path: Path, database: DatabaseSettings):
    clock = Clock()
    with ledger(tmp_path, database, [budget("tenant", "hour", 100)], clock) as book:
        at = clock()
        saved = Receipt(saved_usd=Decimal("0.0005"), baseline_usd=Decimal("0.0005"))
        over = [Over(ALICE, saved, True, at), Over(Account("umbrella"), saved, True, at, id="another")]
        clock.now += 7200
        for _ in range(2):
            book.keep_receipts(over)
            book.record_all(ALICE, {"one": (CALL, 3), "two": (CALL, 4)}, at)
        book.record_all(ALICE, {"two": (CALL, 4), "three": (CALL, 5)}, at)
        check(book)
        with book.database.reading() as connection:
            rows = connection.execute(sa.select(entries).order_by(entries.c.id)).all()
            kept = connection.execute(sa.select(receipts.c.at)).scalars().all()
        assert sorted(row.cost for row in rows) == [0, 0, 3, 4, 5] and sum(row.saved for row in rows) == 1000
        # they count for when they were, not for when they could be written
        assert {row.reserved_at for row in rows} == {at} == set(kept)
        assert book.reserve(ALICE, CALL, hold(100), None, 60)
