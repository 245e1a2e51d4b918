"""Listed prices change by the day and by the hour: what is charged is the price of the moment of the call."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

from ragsaver.settings import DatabaseSettings, PriceSettings, Settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.ledger import DONE
from ragsaver.spend.price_list import SOURCE, VERSION, list_date, listed
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.reports import prices_report, reprice
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage
from tests.clock import Clock
from tests.commands import as_json, run
from tests.spend.ledgers import ledger

DAY_S = 86_400


def conditional(kind: type) -> dict[str, set]:
    """The models that have such prices, with the days or times of day at which they change."""
    found: dict[str, set] = {}
    for provider in get_snapshot().providers:
        for model in provider.models:
            for option in model.prices if isinstance(model.prices, list) else ():
                if isinstance(option.constraint, kind):
                    name = vars(option.constraint)
                    found.setdefault(model.id, set()).update(name.values())
    # another provider may have the same name, and is the one that is found
    return {name: when for name, when in found.items() if _is_that_model(name, kind)}


def _is_that_model(name: str, kind: type) -> bool:
    try:
        model = get_snapshot().find_provider_model(name, None, None, None)[1]
    except LookupError:
        return False
    prices = model.prices if isinstance(model.prices, list) else []
    return model.id == name and any(isinstance(one.constraint, kind) for one in prices)


def real(model: str, at: float) -> Decimal:
    asked = Usage(input_tokens=1000, output_tokens=1000)
    return calc_price(asked, model_ref=model, genai_request_timestamp=datetime.fromtimestamp(at, UTC)).total_price


def midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def one_of(kind: type) -> tuple[str, float]:
    """A model whose price differs before and after a moment."""
    for name, when in conditional(kind).items():
        for one in when:
            day = one if isinstance(one, date) else date(2026, 11, 20)
            at = midnight(day)
            if not isinstance(one, date):
                at += timedelta(hours=one.hour, minutes=one.minute).total_seconds()
            if real(name, at - 1) != real(name, at):
                return name, at
    pytest.skip("the installed list has no such model")


@pytest.mark.parametrize("kind", [StartDateConstraint, TimeOfDateConstraint])
def test_a_book_that_stays_open_has_at_each_moment_the_price_of_then(kind: type):
    models = list(conditional(kind))[:20]
    assert models
    book = PriceBook()
    start = midnight(date(2026, 10, 17))
    for name in models:
        for step in range(0, 80 * DAY_S, 7 * 3600 + 1):
            at = start + step
            price = book.price(name, at)
            assert abs(price.of(TokenUsage(fresh=1000, output=1000)) - real(name, at)) < Decimal("0.0000001")


def test_a_price_is_told_with_the_time_for_which_it_stays():
    name, at = one_of(StartDateConstraint)
    before, spell = listed(name, at - 1)
    assert spell.since < at - 1 and spell.until == at
    after, later = listed(name, at)
    assert later.since == at and after != before
    assert listed("nobody-knows-this", at)[0] is None


def test_the_list_s_date_is_its_newest_change_up_to_then():
    days = set().union(*conditional(StartDateConstraint).values())
    for day in days:
        assert list_date(midnight(day) + 5)[0] == day
        assert list_date(midnight(day) - 5)[0] < day or day == min(days)
    told = PriceBook().told(midnight(date(2026, 11, 27)))
    assert told.version == f"genai-prices {VERSION} of {told.date}" and told.source == SOURCE
    assert told.date <= "2026-11-27"


def test_own_prices_are_in_the_book_s_name_and_source():
    book = PriceBook({"tiny": PriceSettings(input_per_mtok=1, output_per_mtok=10)})
    assert book.version.startswith(f"{PriceBook().version}+") and book.told().source.startswith("spend.prices, ")
    assert book.price("tiny", 0.0) == book.price("tiny", 0.0)


def test_a_call_is_charged_the_price_of_its_own_time_and_can_be_priced_again(
    tmp_path: Path, database: DatabaseSettings
):
    name, at = one_of(StartDateConstraint)
    clock = Clock(at - 60)
    book, used = PriceBook(), TokenUsage(fresh=100_000, output=100_000)
    with ledger(tmp_path, database, [], clock) as kept:
        till = Till(Settings(), book, lambda texts: [0 for _ in texts], lambda: kept)
        account = Account("acme", None, "query", "req_1")

        def call() -> Decimal:
            lease = till.reserve(
                account, tier="s", model=name, task="answer", prompt_tokens=100_000, most=100_000, lasts_s=3600
            )
            clock.now += 120  # the price changes meanwhile, if it was to
            with open_receipt() as receipt:
                charge = till.settle(lease, DONE, used)
            assert receipt.close().prices == book.told(lease.reserved_at)
            assert lease.call.prices == book.told(lease.reserved_at).version
            return Decimal(charge.cost) / 1_000_000

        first, second = call(), call()
        assert first == book.price(name, at - 60).of(used) != second == book.price(name, at + 60).of(used)
        same = reprice(kept, book, since=0.0, prices_of="call")
        assert (same.difference_usd, same.prices_of) == (0, "call")
        now = reprice(kept, book, since=0.0, request_id="req_1")
        assert now.repriced_usd == 2 * second and now.prices == book.told(clock())
        assert reprice(kept, book, request_id="req_2").lines == ()


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({}, ("maxsim", 0, 0, "on this machine", True)),
        ({"usd_per_1k_calls": 1, "usd_per_mtok": 2}, ("maxsim", 1, 2, "settings", True)),
        ({"backend": "remote", "url": "http://ann:secret@a", "usd_per_mtok": 0}, ("http://a", 0, 0, "settings", True)),
        ({"backend": "remote", "url": "http://a", "model": "own"}, ("own", 0, 3, "settings", True)),
    ],
)
def test_the_reranker_s_price_is_told(wishes: dict[str, object], told: tuple[object, ...]):
    prices = {"own": {"input_per_mtok": 3, "output_per_mtok": 9}}
    settings = Settings.model_validate({"rerank": wishes, "spend": {"prices": prices}})
    found = prices_report(PriceBook.of(settings.spend), settings).reranker
    assert (found.reranker, found.usd_per_1k_calls, found.usd_per_mtok, found.origin, found.known) == told


def test_a_reranker_that_nobody_knows_has_the_upper_price():
    settings = Settings.model_validate({"rerank": {"backend": "remote", "url": "http://a", "model": "who-knows-it"}})
    found = prices_report(PriceBook.of(settings.spend), settings).reranker
    assert not found.known and found.usd_per_mtok > 0 and "is on no price list" in found.origin


def test_the_prices_in_use_are_told(tmp_path: Path):
    (tmp_path / "ragsaver.yaml").write_text(
        "generation: {models: [{name: own}, {name: nobody-knows-this}]}\n"
        "spend: {prices: {own: {input_per_mtok: 1, output_per_mtok: 2}}, embedding_per_mtok: 0.02}\n"
    )
    told = as_json(tmp_path, "spend", "prices")
    assert [(one["model"], one["known"]) for one in told["models"]] == [("own", True), ("nobody-knows-this", False)]
    assert told["prices"]["date"] in told["prices"]["version"] and told["embedding_per_mtok"] == 0.02
    shown = run(tmp_path, "spend", "prices").stdout
    assert told["reranker"]["reranker"] == "maxsim" and "as reranker" in shown
    assert "own" in shown and SOURCE in shown and "is on no price list" in shown
    name, _ = one_of(StartDateConstraint)
    settings = Settings.model_validate({"generation": {"models": [{"name": name}]}})
    (line,) = prices_report(PriceBook(), settings).models
    assert line.known and line.origin == "genai-prices"
