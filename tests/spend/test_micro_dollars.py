from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ragsaver.settings import Settings
from ragsaver.spend.baseline import settle
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import current_receipt, open_receipt

PRICES = {"large": {"input_per_mtok": "10", "output_per_mtok": "30"}}
count = st.integers(0, 100_000)


def settings(**spend: object) -> Settings:
    return Settings.model_validate({"spend": {"prices": PRICES, **spend}})


@given(st.lists(count, max_size=20), count, count, count, st.integers(0, 10**6))
def test_the_lines_always_add_up(whole, packed, prompt, answer, micro_usd):
    wishes = settings(baseline_model="large")
    with open_receipt() as receipt:
        receipt.add("generate", "small", 1, "tokens", cost_usd=Decimal(micro_usd) / 1_000_000)
        receipt.whole_passage_tokens = tuple(whole)
        receipt.packed_tokens, receipt.prompt_tokens, receipt.answer_tokens = packed, prompt, answer
        settle(receipt, wishes, PriceBook(wishes.spend.prices))
    closed = receipt.close()
    assert sum(line.cost_usd for line in closed.lines) == closed.cost_usd
    assert sum(line.saved_usd for line in closed.lines) == closed.saved_usd
    assert closed.saved_usd == closed.baseline_usd - closed.cost_usd
    by_rule = (sum(whole[:10]) - packed + prompt) * Decimal(10) + answer * Decimal(30)
    assert closed.baseline_usd == by_rule / 1_000_000


def test_without_a_model_there_is_no_money_but_tokens():
    with open_receipt() as receipt:
        receipt.whole_passage_tokens, receipt.packed_tokens = (500, 400), 200
        settle(receipt, settings(), PriceBook())
    closed = receipt.close()
    assert (closed.baseline_usd, closed.lines[0].quantity) == (0, 700)


def test_own_prices_win_listed_ones_follow_and_unknown_is_never_free():
    book = PriceBook(settings().spend.prices)
    assert book.price("large").origin == "settings"
    assert book.price("gpt-4o").origin == "genai-prices"
    unknown = book.price("nobody-knows-this")
    assert unknown.input_per_mtok >= book.price("gpt-4o").input_per_mtok > 0
    assert "spend.prices" in unknown.origin


def test_a_receipt_outside_of_a_request_goes_nowhere():
    current_receipt().add("x", "y", 1, "z")
    assert current_receipt().lines == []
