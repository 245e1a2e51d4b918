"""The more of a budget is used up the less is served, never more; and time gives back what it took."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragsaver.errors import BudgetExceeded
from ragsaver.settings import DatabaseSettings, PacingSettings, Settings
from ragsaver.spend.budgets import Account, Standing, Window, period_at
from ragsaver.spend.ledger import Call, Ledger
from ragsaver.spend.pacing import (
    UNPRESSED,
    Pace,
    Service,
    admit,
    pace_of,
    pressure_of,
    refuse_without_model,
    service_at,
    strong_share,
)
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.till import Till
from tests.clock import Clock
from tests.spend.ledgers import budget, ledger

ACCOUNT = Account("acme", "ana", "query")
HOUR = 3600
SHARES = st.floats(0, 1)
SLACKS = st.floats(0, 0.9)
BOUNDS = st.one_of(st.none(), st.floats(0.001, 1))


@st.composite
def wishes(draw: st.DrawFn) -> PacingSettings:
    bounds = sorted(draw(st.lists(st.floats(0.001, 1), min_size=5, max_size=5)))
    names = ("no_rerank_from", "small_from", "extractive_from", "cached_from", "refused_from")
    values = {name: bound if draw(st.booleans()) else None for name, bound in zip(names, bounds, strict=True)}
    return PacingSettings(slack=draw(SLACKS), no_escalation_from=draw(BOUNDS), **values)


def standing(spent: int, kind: str = "total", period: str = "hour") -> Standing:
    start = 1_790_000_000 // HOUR * HOUR
    return Standing(Window(kind, "", period, *period_at(period, start)), spent, 0)


def paced(spent: int, elapsed: float = 0.0, wish: PacingSettings | None = None, limit: int = 1000) -> Pace:
    one = standing(spent)
    at = one.window.starts + elapsed * HOUR
    return pace_of([one], {one.window.id: limit}, wish or PacingSettings(), at)


@given(SHARES, SHARES, SHARES, SLACKS)
def test_pressure_grows_with_what_is_used_and_falls_with_time(used: float, more: float, elapsed: float, slack: float):
    low, high = sorted((used, more))
    assert 0 <= pressure_of(low, elapsed, slack) <= pressure_of(high, elapsed, slack) <= 1
    first, later = sorted((more, elapsed))
    assert pressure_of(used, later, slack) <= pressure_of(used, first, slack)
    assert pressure_of(1.0, elapsed, slack) == 1
    assert pressure_of(0.0, elapsed, slack) == 0


@given(st.floats(0, 0.98), st.floats(0, 0.98), SLACKS)
def test_pressure_has_no_jump(used: float, elapsed: float, slack: float):
    step = 1e-6
    assert abs(pressure_of(used + step, elapsed, slack) - pressure_of(used, elapsed, slack)) < 1e-2
    assert abs(pressure_of(used, elapsed + step, slack) - pressure_of(used, elapsed, slack)) < 1e-2


@given(st.floats(0, 0.99), SHARES)
def test_who_spends_at_the_budget_s_own_pace_feels_nothing(elapsed: float, part: float):
    assert pressure_of(elapsed * part, elapsed, 0.0) == 0
    assert pressure_of(0.1, 0.0, 0.1) == pytest.approx(0)


@given(st.integers(0, 1200), st.integers(0, 1200), SHARES, wishes())
def test_who_has_spent_more_is_never_served_more(spent: int, more: int, elapsed: float, wish: PacingSettings):
    assume(elapsed < 1)
    before, after = paced(min(spent, more), elapsed, wish), paced(max(spent, more), elapsed, wish)
    assert after.service >= before.service
    assert after.strong <= before.strong
    assert before.escalates or not after.escalates
    if after.service >= Service.SMALL:
        assert (after.strong, after.escalates) == (0, False)


@given(st.lists(st.tuples(st.sampled_from(["hour", "day", "month"]), st.integers(0, 1000)), min_size=1), SHARES)
def test_of_several_budgets_the_tightest_counts(spent: list[tuple[str, int]], elapsed: float):
    wish = PacingSettings()
    all_of_them = [standing(cost, f"kind{n}", period) for n, (period, cost) in enumerate(spent)]
    limits = {one.window.id: 1000 for one in all_of_them}
    at = all_of_them[0].window.starts + elapsed
    together = pace_of(all_of_them, limits, wish, at)
    assert together.pressure == max(pace_of([one], limits, wish, at).pressure for one in all_of_them)
    assert together.service is service_at(together.pressure, wish)


@given(st.floats(0, 1))
def test_the_share_of_strong_calls_falls_straight_to_none_where_only_the_small_model_is_left(pressure: float):
    wish = PacingSettings(small_from=0.5)
    assert strong_share(pressure, wish) == pytest.approx(max(1 - 2 * pressure, 0))


def test_the_rungs_are_reached_in_their_order_and_one_without_a_bound_is_passed_over():
    wish = PacingSettings()
    seen = [service_at(pressure / 100, wish) for pressure in range(101)]
    assert seen == sorted(seen) and set(seen) == set(Service)
    wish = PacingSettings(extractive_from=None, cached_from=None)
    assert {service_at(pressure / 100, wish) for pressure in range(101)} == {
        Service.FULL,
        Service.NO_RERANK,
        Service.SMALL,
        Service.REFUSED,
    }
    assert [one.told for one in Service] == ["full", "no-rerank", "small", "extractive", "cached", "refused"]


@given(st.integers(850, 1100), st.floats(0, 0.9), SLACKS)
def test_after_retry_after_there_is_an_answer(spent: int, elapsed: float, slack: float):
    wish = PacingSettings(slack=slack)
    pace = paced(spent, elapsed, wish)
    assume(pace.service >= Service.CACHED)
    with pytest.raises(BudgetExceeded) as refused:
        admit(pace, cached=False)
    wait_s = refused.value.retry_after_s
    later = (elapsed * HOUR + wait_s) / HOUR
    assert wait_s >= 1
    # Either the period is over, or enough of it has passed.
    assert later >= 1 - 1 / HOUR or paced(spent, later, wish).service < Service.CACHED
    if spent >= 1000:
        assert later == pytest.approx(1, abs=1.01 / HOUR)


@given(st.integers(800, 1100), st.floats(0, 0.9), SLACKS)
def test_after_the_retry_after_of_what_needs_a_model_one_is_asked(spent: int, elapsed: float, slack: float):
    wish = PacingSettings(slack=slack)
    pace = paced(spent, elapsed, wish)
    assume(pace.service >= Service.EXTRACTIVE)
    with pytest.raises(BudgetExceeded, match="no model is asked") as refused:
        refuse_without_model(pace)
    later = (elapsed * HOUR + refused.value.retry_after_s) / HOUR
    assert later >= 1 - 1 / HOUR or paced(spent, later, wish).service < Service.EXTRACTIVE
    sooner = later - 3 / HOUR
    assert sooner <= elapsed or paced(spent, sooner, wish).service >= Service.EXTRACTIVE


def test_only_what_is_cached_is_given_before_all_is_refused():
    cached, refused = paced(960), paced(1000)
    assert (cached.service, refused.service) == (Service.CACHED, Service.REFUSED)
    admit(paced(940), cached=False)
    admit(cached, cached=True)
    with pytest.raises(BudgetExceeded, match="only answers that are cached"):
        admit(cached, cached=False)
    with pytest.raises(BudgetExceeded, match=r"budget total per hour is used up .*no answers are given"):
        admit(refused, cached=True)


def test_a_ladder_that_goes_up_is_refused():
    with pytest.raises(ValueError, match="at least the one before it"):
        PacingSettings(small_from=0.9, extractive_from=0.5)


def spend(book: Ledger, micro: int, account: Account = ACCOUNT) -> None:
    book.record(account, Call("", "tiny", "test", 0, "book"), micro)


def test_the_ledger_tells_how_its_budgets_stand(tmp_path: Path):
    wanted = [budget("tenant", "day", 1000), budget("principal", "hour", 500, "acme/ana")]
    with ledger(tmp_path, DatabaseSettings(), wanted) as book:
        standings, limits = book.standings(ACCOUNT)
        assert sorted(limits.values()) == [500, 1000] and all(one.spent == 0 for one in standings)
        spend(book, 300)
        spend(book, 100, Account("acme", "bob"))
        spend(book, 50, Account("other", "ana"))
        standings, _ = book.standings(ACCOUNT)
        assert {(one.window.kind, one.spent) for one in standings} == {("tenant", 400), ("principal", 300)}
        assert book.standings(Account("nobody"))[0][0].spent == 0


def till_of(book: Ledger, **pacing: object) -> Till:
    wanted = [{"scope": "tenant", "period": "hour", "limit_usd": "0.001"}]
    settings = Settings.model_validate({"spend": {"budgets": wanted, "pacing": pacing}})
    return Till(settings, PriceBook.of(settings.spend), lambda texts: [0 for _ in texts], lambda: book)


def test_what_other_processes_spend_is_known_a_second_late(tmp_path: Path):
    clock = Clock(1_790_000_000 // HOUR * HOUR)
    with ledger(tmp_path, DatabaseSettings(), [budget("tenant", "hour", 1000)], clock) as book:
        mine = till_of(book)
        assert mine.pace(ACCOUNT).service is Service.FULL
        spend(book, 800)
        assert mine.pace(ACCOUNT).service is Service.FULL
        clock.now += 1
        assert mine.pace(ACCOUNT).service is Service.SMALL
        assert mine.pace(Account("other")).service is Service.FULL
        clock.now += HOUR
        assert mine.pace(ACCOUNT).service is Service.FULL
        assert till_of(book, enabled=False).pace(ACCOUNT) is UNPRESSED


def test_without_budgets_nothing_is_read():
    def none() -> Ledger:
        raise AssertionError("the ledger was opened")

    settings = Settings()
    assert Till(settings, PriceBook.of(settings.spend), lambda _: [], none).pace(ACCOUNT) is UNPRESSED
