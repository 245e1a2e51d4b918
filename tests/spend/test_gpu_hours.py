"""A model on GPUs of one's own costs its share of their hour: exact, named on the receipt, and never by accident free."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import SettingsError, TooExpensive
from ragsaver.settings import PriceSettings, Settings, usd_per_mtok
from ragsaver.settings_file import load_settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.ledger import DONE
from ragsaver.spend.money import charged
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.reports import reprice
from ragsaver.spend.till import Till
from ragsaver.spend.usage import TokenUsage
from tests.ingestion.bench import Bench
from tests.spend.ledgers import check

# 0.001 dollars a second: 100 tokens read, or 10 written, for a thousandth of a dollar
HOURLY = {"gpu_hour_usd": "3.6", "input_tokens_per_s": 100, "output_tokens_per_s": 10}
money = st.decimals("0.01", "1000", places=2)
rates = st.decimals("0.1", "1000000", places=1)
tokens = st.integers(0, 10**7)


def test_an_hour_s_price_is_one_for_tokens():
    price = PriceBook({"own": PriceSettings(**HOURLY)}).price("own")
    assert (price.input_per_mtok, price.output_per_mtok, price.cached_input_per_mtok) == (10, 100, 10)
    assert price.of(TokenUsage(fresh=60, cache_read=40, output=10)) == Decimal("0.002")
    assert "gpu-hour at 3.6 USD, 100 tokens/s in and 10 out" in price.origin and price.known


@given(money, rates, rates, tokens, tokens)
def test_a_charge_is_the_gpu_s_time_and_no_more_than_the_rounding_above_it(hour, in_per_s, out_per_s, read, written):
    wishes = PriceSettings(gpu_hour_usd=hour, input_tokens_per_s=in_per_s, output_tokens_per_s=out_per_s)
    price = PriceBook({"own": wishes}).price("own")
    seconds = read / Fraction(in_per_s) + written / Fraction(out_per_s)
    exact = Fraction(hour) / 3600 * seconds * 10**6
    cost = charged(price.of(TokenUsage(fresh=read, output=written)))
    # a price is rounded up to a micro-dollar for a million tokens, a charge to a micro-dollar
    assert exact <= cost < exact + 1 + Fraction(read + written, 10**6)
    assert charged(price.worst(read, written)) >= cost


@given(money, rates)
def test_a_price_for_a_million_tokens_is_the_least_whole_micro_dollars_that_are_enough(hour, rate):
    micro = usd_per_mtok(hour, rate) * 10**6
    exact = Fraction(hour) * 10**12 / (3600 * Fraction(rate))
    assert micro == int(micro) and exact <= int(micro) < exact + 1


def test_a_price_that_no_decimal_fraction_has_is_rounded_up_once_and_charged_to_the_micro_dollar():
    wishes = PriceSettings(gpu_hour_usd="7.2", input_tokens_per_s=3000, output_tokens_per_s=3000)
    price = PriceBook({"own": wishes}).price("own")
    assert price.output_per_mtok == Decimal("0.666667")
    assert [charged(price.of(TokenUsage(output=count))) for count in (1, 2, 6_000_000)] == [1, 2, 4_000_002]


def test_receipt_ledger_and_repricing_agree(tmp_path: Path):
    settings = Settings.model_validate({"home": tmp_path, "spend": {"prices": {"own": HOURLY}}})
    book = PriceBook.of(settings.spend)
    till = Till(settings, book, lambda texts: [1] * len(texts))
    account = Account("acme", "alice", "query", "req_hourly")
    with open_receipt() as receipt:
        lease = till.reserve(account, tier="small", model="own", task="answer", prompt_tokens=60, most=20, lasts_s=60)
        till.settle(lease, DONE, TokenUsage(fresh=60, output=17))
        (line,) = receipt.close().lines
    assert line.cost_usd == Decimal("0.0023")
    assert f"price by settings, gpu-hour at 3.6 USD, 100 tokens/s in and 10 out ({book.version})" in line.reason
    check(till.ledger)
    same = reprice(till.ledger, book)
    assert (same.charged_usd, same.difference_usd, same.lines[0].books) == (line.cost_usd, 0, (book.version,))
    # twice as fast for three times as much, or by the token
    faster = {"gpu_hour_usd": "10.8", "input_tokens_per_s": 200, "output_tokens_per_s": 20}
    by_token = {"input_per_mtok": 10, "output_per_mtok": 100}
    for prices, factor in ((faster, Decimal("1.5")), (by_token, 1)):
        other = PriceBook({"own": PriceSettings(**prices)})
        assert other.version != book.version
        assert reprice(till.ledger, other).repriced_usd == factor * line.cost_usd
    till.close()


def test_embedding_has_an_hour_s_price_too_also_where_settings_are_read_again():
    spend = {"embedding_gpu_hour_usd": "3.6", "embedding_tokens_per_s": 20_000}
    settings = Settings.model_validate({"spend": spend})
    assert settings.spend.embedding_per_mtok == Decimal("0.05")
    assert Settings.model_validate(settings.model_dump()) == settings
    assert Settings.model_validate_json(settings.model_dump_json()).spend.embedding_per_mtok == Decimal("0.05")
    assert Settings().spend.embedding_per_mtok == 0


def test_an_ingestion_on_a_gpu_is_planned_limited_and_reported_at_its_price(tmp_path: Path):
    bench = Bench(tmp_path, spend={"embedding_gpu_hour_usd": "3.6", "embedding_tokens_per_s": "1"})
    (bench.docs / "a.md").write_text("# Zebras\n\nZebras sleep in the grass at night.")
    with pytest.raises(TooExpensive):
        bench.ingest(max_cost_usd=Decimal("0.001"))
    embedding = bench.ingest().embedding
    bench.close()
    assert embedding.tokens > 0 and embedding.cost_usd == embedding.tokens * Decimal("0.001")


WRONG = {
    "prices: {own: {gpu_hour_usd: 2}}": "needed together",
    "prices: {own: {input_tokens_per_s: 2, output_tokens_per_s: 2}}": "needed together",
    "prices: {own: {gpu_hour_usd: 2, input_tokens_per_s: 9, output_tokens_per_s: 9, input_per_mtok: 0}}": "not both",
    "prices: {own: {gpu_hour_usd: 2, input_tokens_per_s: 9, output_tokens_per_s: 9, cached_input_per_mtok: 1}}": (
        "not both"
    ),
    "prices: {own: {gpu_hour_usd: 0, input_tokens_per_s: 9, output_tokens_per_s: 9}}": "greater than 0",
    "prices: {own: {gpu_hour_usd: -2, input_tokens_per_s: 9, output_tokens_per_s: 9}}": "greater than 0",
    "prices: {own: {gpu_hour_usd: 2, input_tokens_per_s: 0, output_tokens_per_s: 9}}": "0.001",
    "prices: {own: {gpu_hour_usd: 2, input_tokens_per_s: 9, output_tokens_per_s: -9}}": "0.001",
    "prices: {own: {gpu_hour_usd: .inf, input_tokens_per_s: 9, output_tokens_per_s: 9}}": "finite",
    "prices: {own: {}}": "needs input_per_mtok and output_per_mtok, or gpu_hour_usd",
    "prices: {own: {input_per_mtok: 1}}": "needs input_per_mtok and output_per_mtok",
    "upper_price: {gpu_hour_usd: 2}": "needed together",
    "embedding_gpu_hour_usd: 2": "needed together",
    "embedding_tokens_per_s: 2": "needed together",
    "{embedding_gpu_hour_usd: 2, embedding_tokens_per_s: 0}": "0.001",
    "{embedding_gpu_hour_usd: -2, embedding_tokens_per_s: 9}": "greater than 0",
    "{embedding_gpu_hour_usd: 2, embedding_tokens_per_s: 9, embedding_per_mtok: 1}": "not both",
}


@pytest.mark.parametrize("spend", WRONG)
def test_what_makes_no_price_is_refused_with_its_place_and_reason(tmp_path: Path, spend: str):
    (tmp_path / "ragsaver.yaml").write_text(f"spend:\n  {spend}\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(tmp_path, {})
    assert WRONG[spend] in str(refused.value) and "spend" in str(refused.value)
