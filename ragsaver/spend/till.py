"""Where a model's call is paid for: the same numbers go on the running request's receipt and into the ledger."""

from ragsaver.spend.money import charged, dollars
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import current_receipt
from ragsaver.spend.usage import TokenUsage


class Till:
    """Takes the money of a process.

    :param prices: of all models.
    """

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    def bill(self, model: str, usage: TokenUsage) -> None:
        """Charge a call that is over."""
        price = self._prices.price(model)
        receipt = current_receipt()
        receipt.count(input=usage.fresh + usage.cache_write, cached_input=usage.cache_read, output=usage.answered)
        receipt.prompt_tokens, receipt.answer_tokens = usage.prompt, usage.answered
        counted = "counted here" if usage.estimated else "as the endpoint billed"
        receipt.add(
            "generate",
            model,
            usage.total,
            "tokens",
            cost_usd=dollars(charged(price.of(usage))),
            reason=f"tokens {counted}, price by {price.origin}",
        )
