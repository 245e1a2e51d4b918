"""What would the same question have cost without RAGSaver? The rules, so that a saving can be checked.

1. The model is `spend.baseline_model`, or else the largest configured one. With neither there is no money to
   save: the baseline is 0 USD, and only tokens are compared.
2. The context is the top `spend.baseline_passages` (10) retrieved passages, whole, duplicates and all.
3. Instructions, question and answer are as long as they were; a question that was embedded is embedded, at its price.
4. No cache of any kind answers, and no provider's cached-input price applies.
"""

from dataclasses import dataclass
from decimal import Decimal

from ragsaver.settings import Settings
from ragsaver.spend.price import Price
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import EMBED_QUERY, ZERO, OpenReceipt


@dataclass(frozen=True, slots=True)
class Saving:
    """A saving split over the stages that made it; the two add up to baseline minus cost."""

    pack_usd: Decimal
    generate_usd: Decimal


def split(
    price: Price,
    *,
    whole_tokens: int,
    packed_tokens: int,
    prompt_tokens: int,
    output_tokens: int,
    cost_usd: Decimal,
) -> Saving:
    """Split the saving of one answer; either part may be negative, and is shown so.

    :param price: the baseline model's.
    :param whole_tokens: tokens of the baseline's passages.
    :param packed_tokens: tokens of the context that was packed.
    :param prompt_tokens: tokens of the prompt as it was, packed context included.
    :param output_tokens: tokens of the answer.
    :param cost_usd: what the answer cost.
    """
    return Saving(
        pack_usd=(whole_tokens - packed_tokens) * price.input_per_mtok / 1_000_000,
        generate_usd=price.cost(input=prompt_tokens, output=output_tokens) - cost_usd,
    )


def baseline_model(settings: Settings) -> str | None:
    """The model that savings are priced against; None if there is none."""
    models = settings.generation.models
    return settings.spend.baseline_model or (models[-1].name if models else None)


def settle(receipt: OpenReceipt, settings: Settings, prices: PriceBook, *, reused_usd: Decimal = ZERO) -> None:
    """Add the lines that say what was saved; call it once, when the answer is there.

    :param reused_usd: what an answer from a cache had cost, where a line says so already: the other lines tell what
        was saved beside that.
    """
    whole = sum(receipt.whole_passage_tokens[: settings.spend.baseline_passages])
    saved_tokens = whole - receipt.packed_tokens
    # a passage that is shorter than its heading: nothing is avoided, and nothing is called so
    told = "context tokens avoided" if saved_tokens >= 0 else "context tokens beyond the baseline's, with headings"
    model = baseline_model(settings)
    if model is None:
        receipt.add("pack", told, abs(saved_tokens), "tokens", reason="no model to price them by")
        return
    receipt.prices = receipt.prices or prices.told()
    price = prices.price(model).at(receipt.prompt_tokens)
    saving = split(
        price,
        whole_tokens=whole,
        packed_tokens=receipt.packed_tokens,
        prompt_tokens=receipt.prompt_tokens,
        output_tokens=receipt.answer_tokens,
        cost_usd=sum((line.cost_usd for line in receipt.lines if line.stage != EMBED_QUERY), reused_usd),
    )
    rule = f"against the top {settings.spend.baseline_passages} passages, whole, to {model} ({price.origin})"
    receipt.add("pack", told, abs(saved_tokens), "tokens", saved_usd=saving.pack_usd, reason=rule)
    receipt.add(
        "generate",
        "answer by a cheaper tier",
        receipt.prompt_tokens + receipt.answer_tokens,
        "tokens",
        saved_usd=saving.generate_usd,
        reason=f"the same prompt and answer by {model}",
    )
