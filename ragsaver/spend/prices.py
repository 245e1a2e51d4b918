"""What does a token cost? The operator's own prices first, then the shipped price list, then an upper price.

An operator's price is for tokens, or for an hour of GPUs and the tokens that they do in a second. The latter becomes a
price for a million tokens once, rounded up to a micro-dollar; from there on there is no difference.

A model that nobody knows is never free: it costs `spend.upper_price`, or as much as the dearest one on the list, and
the price says so. The list's version and date, with a hash of the operator's prices, name the book that a charge was
priced by. A listed price is the one that holds when the call is made.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import xxhash

from ragsaver.settings import PriceSettings, SpendSettings, usd_per_mtok
from ragsaver.spend.price import Price
from ragsaver.spend.receipt import PricedBy

if TYPE_CHECKING:
    from ragsaver.spend.price_list import Spell

_REMEMBERED = 256


class _Held(NamedTuple):
    """A price from a moment on, before another one."""

    price: Price
    since: float
    until: float


class PriceBook:
    """Prices by model name. Safe from threads.

    :param overrides: the operator's prices (`spend.prices`); they win, and hold at all times.
    :param upper: of models that nobody knows; that of the dearest on the list if None.
    """

    def __init__(
        self, overrides: Mapping[str, PriceSettings] | None = None, upper: PriceSettings | None = None
    ) -> None:
        self._overrides = dict(overrides or {})
        self._upper = upper
        self._held: dict[str, _Held] = {}
        self._told: tuple[PricedBy, Spell] | None = None  # replaced as one: threads read it

    @classmethod
    def of(cls, wishes: SpendSettings) -> Self:
        """The book of the settings."""
        return cls(wishes.prices, wishes.upper_price)

    @property
    def version(self) -> str:
        """Says which book it is now, on receipts and in the ledger."""
        return self.told().version

    def told(self, at: float | None = None) -> PricedBy:
        """Which book it is: version, date and source.

        :param at: seconds since the epoch; now if None.
        """
        return self._book(time.time() if at is None else at)[0]

    def price(self, model: str, at: float | None = None) -> Price:
        """The price of a model: an upper bound if it is unknown, never zero by accident.

        :param at: when it is called, in seconds since the epoch; now if None.
        """
        at = time.time() if at is None else at
        held = self._held.get(model)
        if held is None or not held.since <= at < held.until:
            if len(self._held) >= _REMEMBERED:
                self._held = {}
            held = self._held[model] = self._looked_up(model, at)
        return held.price

    def until(self, model: str) -> float | None:
        """When a model's price of now ends, in seconds since the epoch; None where no end is known."""
        from ragsaver.spend.price_list import listed

        spell = listed(model, time.time())[1]
        return None if model in self._overrides or math.isinf(spell.until) else spell.until

    def _looked_up(self, model: str, at: float) -> _Held:
        from ragsaver.spend.price_list import Spell, dearest, listed

        own = self._overrides.get(model)
        found, spell = (_own(model, own, "settings"), Spell()) if own is not None else listed(model, at)
        if found is None:
            if self._upper is not None:
                found = _own(model, self._upper, f"spend.upper_price: `{model}` is on no price list")
            else:
                found = dearest(model)
            found = replace(found, known=False)
        told, book = self._book(at)
        return _Held(replace(found, version=told.version), max(spell.since, book.since), min(spell.until, book.until))

    def _book(self, at: float) -> "tuple[PricedBy, Spell]":
        told = self._told
        if told is None or not told[1].since <= at < told[1].until:
            from ragsaver.spend.price_list import NAME, SOURCE, VERSION, list_date

            day, spell = list_date(at)
            named = f"{NAME} {VERSION} of {day.isoformat()}{self._own_hash}"
            own = "spend.prices, " if self._own_hash else ""
            self._told = told = PricedBy(version=named, date=day.isoformat(), source=f"{own}{SOURCE}"), spell
        return told

    @cached_property
    def _own_hash(self) -> str:
        own = {name: price.model_dump_json() for name, price in sorted(self._overrides.items())}
        if not own and self._upper is None:
            return ""
        text = repr((own, self._upper and self._upper.model_dump_json()))
        return f"+{xxhash.xxh3_64_hexdigest(text.encode())[:8]}"


def _own(model: str, price: PriceSettings, origin: str) -> Price:
    read, written, cached = price.input_per_mtok, price.output_per_mtok, price.cached_input_per_mtok
    hour, in_per_s, out_per_s = price.gpu_hour_usd, price.input_tokens_per_s, price.output_tokens_per_s
    if hour is not None and in_per_s is not None and out_per_s is not None:
        read, written = usd_per_mtok(hour, in_per_s), usd_per_mtok(hour, out_per_s)
        origin += f", gpu-hour at {hour:f} USD, {in_per_s:f} tokens/s in and {out_per_s:f} out"
    assert read is not None and written is not None, "the settings have seen to that"
    return Price(model, read, written, read if cached is None else cached, origin, price.cache_write_per_mtok)
