from decimal import Decimal

from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.settings import Settings
from ragsaver.spend.baseline import settle
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import current_receipt, open_receipt
from ragsaver.spend.usage import TokenUsage

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
    avoided = next(line for line in closed.lines if line.stage == "pack")
    assert avoided.quantity == abs(sum(whole[:10]) - packed)
    assert ("avoided" in avoided.item) == (sum(whole[:10]) >= packed) == (avoided.saved_usd >= 0)


def test_without_a_model_there_is_no_money_but_tokens():
    with open_receipt() as receipt:
        receipt.whole_passage_tokens, receipt.packed_tokens = (500, 400), 200
        settle(receipt, settings(), PriceBook())
    closed = receipt.close()
    assert (closed.baseline_usd, closed.lines[0].quantity) == (0, 700)


def test_a_short_passage_with_a_heading_avoids_no_negative_number_of_tokens():
    with open_receipt() as receipt:
        receipt.whole_passage_tokens, receipt.packed_tokens = (5,), 6
        settle(receipt, settings(), PriceBook())
    (line,) = receipt.close().lines
    assert line.quantity == 1 and "avoided" not in line.item


def test_own_prices_win_listed_ones_follow_and_unknown_is_never_free():
    book = PriceBook(settings().spend.prices)
    assert book.price("large").origin == "settings"
    assert book.price("gpt-4o").origin == "genai-prices"
    unknown = book.price("nobody-knows-this")
    assert unknown.input_per_mtok >= book.price("gpt-4o").input_per_mtok > 0
    assert "spend.prices" in unknown.origin


def test_a_long_prompt_is_priced_and_held_as_its_provider_does():
    longest, seen, book = 400_000, 0, PriceBook()
    # a model of several providers is looked up by its name alone, and so once
    for name in sorted({listed.id for provider in get_snapshot().providers for listed in provider.models}):
        price = book.price(name)
        for start, _ in price.beyond:
            for prompt in (start - 1, start, start + 1, longest):
                usage = TokenUsage(fresh=prompt - 10, cache_read=10, output=1000)
                asked = Usage(input_tokens=prompt, cache_read_tokens=10, output_tokens=1000)
                real = calc_price(asked, model_ref=name).total_price
                assert abs(price.of(usage) - real) < Decimal("0.000001")
                assert price.worst(prompt, 1000) >= real
                seen += 1
    assert seen > 100


def test_many_short_calls_are_no_long_one():
    price = PriceBook().price("gemini-2.5-pro")
    assert price.cost(input=1_000_000) == Decimal("1.25")
    assert price.of(TokenUsage(fresh=1_000_000)) == Decimal("2.5")


def test_a_receipt_outside_of_a_request_goes_nowhere():
    current_receipt().add("x", "y", 1, "z")
    assert current_receipt().lines == []
