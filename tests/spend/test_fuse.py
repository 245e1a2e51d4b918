"""A loop is stopped early, an ordinary day never; several processes that read one ledger agree."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import FuseBlown
from ragsaver.settings import DatabaseSettings, FuseSettings, Settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.embedded_tokens import charge_embedded
from ragsaver.spend.fuse import Blown, Fuses, limit_of, play, usual
from ragsaver.spend.ledger import Call, Ledger
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.till import Till
from tests.clock import Clock
from tests.spend.ledgers import ledger

WISHES = FuseSettings(floor_usd=Decimal("0.001"), times=10, window_s=60, pause_s=120)
LIMIT = 1000
START = 1_790_000_000 // 3600 * 3600
ACME = Account("acme", "ana", "query")
COSTS = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 900)), max_size=30).map(sorted)


def spend(book: Ledger, micro: int, account: Account = ACME) -> None:
    book.record(account, Call("", "tiny", "test", 0, "book"), micro)


def test_it_blows_waits_tries_and_is_whole_again():
    costs = [(0.0, 600), (50.0, 401)]
    assert play(costs[:1], LIMIT, WISHES, 55) is None
    assert play(costs, LIMIT, WISHES, 55) == Blown(170, 1001, 1000)
    assert play(costs, LIMIT, WISHES, 170) is None
    # what it tries with may cost a tenth
    assert play([*costs, (171.0, 100)], LIMIT, WISHES, 171) is None
    assert play([*costs, (171.0, 60), (180.0, 41)], LIMIT, WISHES, 180) == Blown(300, 101, 100)
    # after a window in which nothing happened the whole limit is there
    assert play([*costs, (171.0, 100), (240.0, 900)], LIMIT, WISHES, 240) is None


def test_calls_that_ran_when_it_blew_do_not_count_against_the_trial():
    assert play([(0.0, 1001), (60.0, 5000)], LIMIT, WISHES, 121) is None


@given(COSTS, st.integers(1, 5000))
def test_nothing_blows_where_no_window_costs_more_than_the_limit(costs: list[tuple[int, int]], limit: int):
    windows = [sum(cost for at, cost in costs if end - 60 < at <= end) for end, _ in costs]
    blown = [play([one for one in costs if one[0] <= now], limit, WISHES, now) for now in range(0, 601, 20)]
    if max(windows, default=0) <= limit:
        assert not any(blown)
    elif any(total > limit for total, (at, _) in zip(windows, costs, strict=True) if at % 20 == 0):
        assert any(blown)


@given(COSTS, st.integers(1, 5000), st.integers(0, 700))
def test_a_higher_limit_never_blows_first(costs: list[tuple[int, int]], limit: int, now: int):
    seen = [one for one in costs if one[0] <= now]
    first = [
        next((at for at, _ in seen if play([one for one in seen if one[0] <= at], bound, WISHES, at)), 10**9)
        for bound in (limit, 2 * limit)
    ]
    assert first[0] <= first[1]


def test_what_is_usual_follows_the_last_active_hours():
    assert usual([]) == 0
    assert usual([100] * 50) == pytest.approx(100)
    assert 100 < usual([100] * 24 + [200] * 24) < 200
    assert usual([100] * 24 + [200] * 24) > 150
    assert limit_of(0, WISHES) == LIMIT
    assert limit_of(60_000, WISHES) == 10_000


def test_a_tenant_s_loop_stops_and_others_go_on(tmp_path: Path):
    clock = Clock(START)
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        fuses, elsewhere = Fuses(book, WISHES), Fuses(book, WISHES)
        fuses.check("acme")
        for _ in range(11):
            spend(book, 100)
        spend(book, 100, Account("other"))
        clock.now += 2
        for process in (fuses, elsewhere):
            with pytest.raises(FuseBlown, match=r"\$0\.0011 were spent within 60 s, more than \$0\.001\b") as error:
                process.check("acme")
            assert error.value.where == "fuse of tenant acme" and 100 < error.value.retry_after_s <= 121
            process.check("other")
        clock.now = START + 125
        fuses.check("acme")
        spend(book, 101)
        clock.now += 6
        with pytest.raises(FuseBlown):
            elsewhere.check("acme")
        Fuses(book, FuseSettings(enabled=False)).check("acme")


def test_who_usually_spends_much_may_spend_more(tmp_path: Path):
    clock = Clock(START)
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        for _ in range(30):
            clock.now += 3600
            spend(book, 60_000)  # a thousand a minute, so ten thousand at once are allowed
        clock.now += 3600
        fuses = Fuses(book, WISHES)
        spend(book, 9_000)
        clock.now += 15
        fuses.check("acme")
        spend(book, 2_000)
        clock.now += 15
        with pytest.raises(FuseBlown):
            fuses.check("acme")


def test_what_ingestions_cost_is_not_what_is_usual(tmp_path: Path):
    clock = Clock(START)
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        for _ in range(30):
            clock.now += 3600
            spend(book, 600)  # ten a minute: the floor is what is allowed
            charge_embedded(book, Account("acme", request_id=f"run {clock.now}"), "model", 10**6, Decimal(1))
        clock.now += 3600
        spend(book, 1100)
        clock.now += 15
        with pytest.raises(FuseBlown):
            Fuses(book, WISHES).check("acme")


@pytest.mark.parametrize("times", [3, 10])
def test_a_tenant_that_asks_as_it_usually_does_comes_back_after_a_runaway(tmp_path: Path, times: int):
    clock = Clock(START)
    wishes = WISHES.model_copy(update={"times": float(times)})
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        for _ in range(30):
            clock.now += 3600
            spend(book, 60_000)  # a thousand a minute
        clock.now += 3600
        fuses = Fuses(book, wishes)
        spend(book, times * 1000 + 1)
        clock.now += 10
        with pytest.raises(FuseBlown) as error:
            fuses.check("acme")
        clock.now += error.value.retry_after_s
        for _ in range(12):
            fuses.check("acme")
            spend(book, 220)
            clock.now += 10
        fuses.check("acme")
        for _ in range(times + 1):
            spend(book, 1000)
        clock.now += 10
        with pytest.raises(FuseBlown):
            fuses.check("acme")


def test_a_runaway_that_goes_on_blows_it_again_in_the_trial(tmp_path: Path):
    clock = Clock(START)
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        for _ in range(30):
            clock.now += 3600
            spend(book, 60_000)
        clock.now += 3600
        fuses = Fuses(book, WISHES)
        blown, spent = 0, 0
        for _ in range(120):
            try:
                fuses.check("acme")
                spend(book, 2000)  # twelve times what is usual
                spent += 2000
            except FuseBlown:
                blown += 1
            clock.now += 10
        assert blown > 80 and spent < 30_000


def test_no_call_is_made_past_a_blown_fuse(tmp_path: Path):
    clock = Clock(START)
    wanted = {"floor_usd": "0.001", "window_s": 60}
    price = {"input_per_mtok": 1, "output_per_mtok": 1}
    settings = Settings.model_validate({"spend": {"fuse": wanted, "prices": {"tiny": price}}})
    with ledger(tmp_path, DatabaseSettings(), clock=clock) as book:
        till = Till(settings, PriceBook.of(settings.spend), lambda texts: [0 for _ in texts], lambda: book)

        def reserve() -> None:
            till.reserve(ACME, tier="small", model="tiny", task="answer", prompt_tokens=9, most=9, lasts_s=9)

        reserve()
        spend(book, 1001)
        clock.now += 3
        with pytest.raises(FuseBlown):
            reserve()
        standings = book.database
        with standings.reading() as connection:
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM leases").scalar() == 1
