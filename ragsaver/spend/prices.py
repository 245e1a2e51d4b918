"""What does a token cost? The operator's own prices first, then the shipped price list, then the dearest known.

A model that nobody knows is never free: it costs as much as the dearest one on the list, and the price says so.
The list is genai-prices' (MIT), as installed: nothing is fetched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from ragsaver.settings import PriceSettings
from ragsaver.spend.usage import TokenUsage

MILLION = Decimal(1_000_000)

# Prices are read off a call of this many tokens: below every provider's long-context tier.
_PROBE_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of each class, and who says so."""

    model: str
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_input_per_mtok: Decimal
    origin: str
    cache_write_per_mtok: Decimal | None = None

    def of(self, usage: TokenUsage) -> Decimal:
        """Dollars for a call; reasoning costs what the answer does."""
        write = self.input_per_mtok if self.cache_write_per_mtok is None else self.cache_write_per_mtok
        rest = self.cost(input=usage.fresh, cached_input=usage.cache_read, output=usage.answered)
        return rest + usage.cache_write * write / MILLION

    def cost(self, *, input: int = 0, cached_input: int = 0, output: int = 0) -> Decimal:
        """Dollars for tokens; `cached_input` is not part of `input`."""
        return (
            input * self.input_per_mtok + cached_input * self.cached_input_per_mtok + output * self.output_per_mtok
        ) / MILLION


class PriceBook:
    """Prices by model name.

    :param overrides: the operator's prices (`spend.prices`); they win.
    """

    def __init__(self, overrides: Mapping[str, PriceSettings] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def price(self, model: str) -> Price:
        """The price of a model: an upper bound if it is unknown, never zero by accident."""
        own = self._overrides.get(model)
        if own is not None:
            cached = own.cached_input_per_mtok
            return Price(
                model,
                own.input_per_mtok,
                own.output_per_mtok,
                own.input_per_mtok if cached is None else cached,
                "settings",
                own.cache_write_per_mtok,
            )
        return _listed(model) or _upper_bound(model)


@lru_cache(maxsize=256)
def _listed(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    def per_mtok(usage: Usage) -> Decimal:
        return calc_price(usage, model_ref=model).total_price * MILLION / _PROBE_TOKENS

    try:
        return Price(
            model,
            per_mtok(Usage(input_tokens=_PROBE_TOKENS)),
            per_mtok(Usage(output_tokens=_PROBE_TOKENS)),
            per_mtok(Usage(input_tokens=_PROBE_TOKENS, cache_read_tokens=_PROBE_TOKENS)),
            "genai-prices",
            per_mtok(Usage(input_tokens=_PROBE_TOKENS, cache_write_tokens=_PROBE_TOKENS)),
        )
    except LookupError:
        return None


@lru_cache(maxsize=256)
def _upper_bound(model: str) -> Price:
    from genai_prices.data_snapshot import get_snapshot

    dearest_input = dearest_output = Decimal(0)
    for provider in get_snapshot().providers:
        for known in provider.models:
            prices = known.prices
            for price in [prices] if not isinstance(prices, list) else [option.prices for option in prices]:
                if isinstance(price.input_mtok, Decimal):
                    dearest_input = max(dearest_input, price.input_mtok)
                if isinstance(price.output_mtok, Decimal):
                    dearest_output = max(dearest_output, price.output_mtok)
    return Price(
        model,
        dearest_input,
        dearest_output,
        dearest_input,
        f"upper bound: `{model}` is on no price list, set it in `spend.prices`",
    )
