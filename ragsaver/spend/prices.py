"""What does a token cost? The operator's own prices first, then the shipped price list, then an upper price.

An operator's price is for tokens, or for an hour of GPUs and the tokens that they do in a second. The latter becomes a
price for a million tokens once, rounded up to a micro-dollar; from there on there is no difference.

A model that nobody knows is never free: it costs `spend.upper_price`, or as much as the dearest one on the list, and
the price says so. The list is genai-prices' (MIT), as installed: nothing is fetched. Its version, with a hash of the
operator's prices, names the book that a charge was priced by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Self

import xxhash

from ragsaver.settings import PriceSettings, SpendSettings, usd_per_mtok
from ragsaver.spend.usage import TokenUsage

MILLION = Decimal(1_000_000)

# Prices are read off calls: one of this many tokens, below every provider's long-context tier, and one in each tier.
_PROBE_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of each class, and who says so.

    :ivar version: of the book that it stands in.
    :ivar known: false where it is an upper bound.
    :ivar beyond: what all of a call's tokens cost where its prompt has more than so many, ascending.
    """

    model: str
    input_per_mtok: Decimal
    output_per_mtok: Decimal
    cached_input_per_mtok: Decimal
    origin: str
    cache_write_per_mtok: Decimal | None = None
    version: str = ""
    known: bool = True
    beyond: tuple[tuple[int, "Price"], ...] = ()

    def at(self, prompt_tokens: int) -> "Price":
        """The price of a call with a prompt of that length."""
        return next((price for more_than, price in reversed(self.beyond) if prompt_tokens > more_than), self)

    def worst(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """Dollars that a call costs at most, whichever class its prompt's tokens are in."""
        price = self.at(prompt_tokens)
        dearest = max(price.input_per_mtok, price.cached_input_per_mtok, price.cache_write_per_mtok or Decimal(0))
        return (prompt_tokens * dearest + output_tokens * price.output_per_mtok) / MILLION

    def of(self, usage: TokenUsage) -> Decimal:
        """Dollars for a call; reasoning costs what the answer does."""
        price = self.at(usage.fresh + usage.cache_read + usage.cache_write)
        write = price.input_per_mtok if price.cache_write_per_mtok is None else price.cache_write_per_mtok
        rest = price.cost(input=usage.fresh, cached_input=usage.cache_read, output=usage.answered)
        return rest + usage.cache_write * write / MILLION

    def cost(self, *, input: int = 0, cached_input: int = 0, output: int = 0) -> Decimal:
        """Dollars for tokens of any number of calls with short prompts; `cached_input` is not part of `input`."""
        return (
            input * self.input_per_mtok + cached_input * self.cached_input_per_mtok + output * self.output_per_mtok
        ) / MILLION


class PriceBook:
    """Prices by model name.

    :param overrides: the operator's prices (`spend.prices`); they win.
    :param upper: of models that nobody knows; that of the dearest on the list if None.
    :ivar version: says which book it is, on receipts and in the ledger.
    """

    def __init__(
        self, overrides: Mapping[str, PriceSettings] | None = None, upper: PriceSettings | None = None
    ) -> None:
        self._overrides = dict(overrides or {})
        self._upper = upper
        self.version = f"genai-prices {version('genai-prices')}"
        own = {name: price.model_dump_json() for name, price in sorted(self._overrides.items())}
        if own or upper is not None:
            text = repr((own, upper and upper.model_dump_json()))
            self.version += f"+{xxhash.xxh3_64_hexdigest(text.encode())[:8]}"

    @classmethod
    def of(cls, wishes: SpendSettings) -> Self:
        """The book of the settings."""
        return cls(wishes.prices, wishes.upper_price)

    def price(self, model: str) -> Price:
        """The price of a model: an upper bound if it is unknown, never zero by accident."""
        own = self._overrides.get(model)
        found = _own(model, own, "settings") if own is not None else _listed(model)
        if found is None:
            found = replace(self._unknown(model), known=False)
        return replace(found, version=self.version)

    def _unknown(self, model: str) -> Price:
        if self._upper is not None:
            return _own(model, self._upper, f"spend.upper_price: `{model}` is on no price list")
        return _upper_bound(model)


def _own(model: str, price: PriceSettings, origin: str) -> Price:
    read, written, cached = price.input_per_mtok, price.output_per_mtok, price.cached_input_per_mtok
    hour, in_per_s, out_per_s = price.gpu_hour_usd, price.input_tokens_per_s, price.output_tokens_per_s
    if hour is not None and in_per_s is not None and out_per_s is not None:
        read, written = usd_per_mtok(hour, in_per_s), usd_per_mtok(hour, out_per_s)
        origin += f", gpu-hour at {hour:f} USD, {in_per_s:f} tokens/s in and {out_per_s:f} out"
    assert read is not None and written is not None, "the settings have seen to that"
    return Price(model, read, written, read if cached is None else cached, origin, price.cache_write_per_mtok)


@lru_cache(maxsize=256)
def _listed(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    try:
        of_model = calc_price(Usage(input_tokens=_PROBE_TOKENS), model_ref=model).model_price
        starts = sorted({tier.start for price in vars(of_model).values() for tier in getattr(price, "tiers", ())})
        beyond = tuple((start, _probed(model, start + _PROBE_TOKENS)) for start in starts)
        return replace(_probed(model, _PROBE_TOKENS), beyond=beyond)
    except LookupError:
        return None


def _probed(model: str, prompt_tokens: int) -> Price:
    """The listed price of calls with a prompt of about that length."""
    from genai_prices import Usage, calc_price

    def usd(**tokens: int) -> Decimal:
        return calc_price(Usage(input_tokens=prompt_tokens, **tokens), model_ref=model).total_price

    fresh = usd()
    return Price(
        model,
        fresh * MILLION / prompt_tokens,
        (usd(output_tokens=_PROBE_TOKENS) - fresh) * MILLION / _PROBE_TOKENS,
        usd(cache_read_tokens=prompt_tokens) * MILLION / prompt_tokens,
        "genai-prices",
        usd(cache_write_tokens=prompt_tokens) * MILLION / prompt_tokens,
    )


@lru_cache(maxsize=256)
def _upper_bound(model: str) -> Price:
    from genai_prices.data_snapshot import get_snapshot

    dearest_input = dearest_output = Decimal(0)
    for provider in get_snapshot().providers:
        for known in provider.models:
            prices = known.prices
            for price in [prices] if not isinstance(prices, list) else [option.prices for option in prices]:
                dearest_input = max(dearest_input, *_all_of(price.input_mtok))
                dearest_output = max(dearest_output, *_all_of(price.output_mtok))
    return Price(
        model,
        dearest_input,
        dearest_output,
        dearest_input,
        f"upper bound: `{model}` is on no price list, set it in `spend.prices`",
    )


def _all_of(price: Any) -> list[Decimal]:
    """A listed price, in each of its tiers."""
    tiers = [price.base, *(tier.price for tier in price.tiers)] if hasattr(price, "tiers") else [price]
    return [one for one in tiers if isinstance(one, Decimal)] or [Decimal(0)]
