"""The shipped price list: genai-prices' (MIT), as installed. Nothing is fetched.

Some of its models have other prices from a day on, or at some hours of the day (UTC). What is asked for is the price of
one moment, and it is told until when it stays.

The list itself has no date: neither the package nor its snapshot says when it was made. So its date is the newest day,
up to the moment that is asked about, on which it has a price change. Prices that are announced for later days are in
it, and hold from their day on.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple

from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, StartDateConstraint, TimeOfDateConstraint

from ragsaver.spend.price import MILLION, Price

NAME = "genai-prices"
VERSION = version(NAME)
SOURCE = "https://github.com/pydantic/genai-prices"

# Prices are read off calls: one of this many tokens, below every provider's long-context tier, and one in each tier.
_PROBE_TOKENS = 1000
_DAY = timedelta(days=1)


class Spell(NamedTuple):
    """A stretch of time in which nothing changes, in seconds since the epoch: from `since` on, before `until`."""

    since: float = -math.inf
    until: float = math.inf


def listed(model: str, at: float) -> tuple[Price | None, Spell]:
    """What a model costs at a moment, and for how long; None if it is not on the list."""
    try:
        _, found = get_snapshot().find_provider_model(model, None, None, None)
    except LookupError:
        return None, Spell()
    spell = _around(at, _changes(found, at))
    return _listed(model, max(spell.since, 0.0)), spell


def list_date(at: float) -> tuple[date, Spell]:
    """The newest day up to a moment on which a listed price changed, and for how long it is that."""
    days = _days()
    spell = _around(at, [_midnight(day) for day in days])
    return days[max(bisect_right(days, datetime.fromtimestamp(at, UTC).date()) - 1, 0)], spell


@lru_cache(maxsize=256)
def dearest(model: str) -> Price:
    """An upper price for a model that is not on the list: as much as the dearest one, whenever that is."""
    dearest_input = dearest_output = Decimal(0)
    for known in _models():
        for price in (option.prices for option in _options(known)):
            dearest_input = max(dearest_input, *_all_of(price.input_mtok))
            dearest_output = max(dearest_output, *_all_of(price.output_mtok))
    return Price(
        model,
        dearest_input,
        dearest_output,
        dearest_input,
        f"upper bound: `{model}` is on no price list, set it in `spend.prices`",
    )


@lru_cache(maxsize=1024)
def _listed(model: str, at: float) -> Price:
    moment = datetime.fromtimestamp(at, UTC)
    of_model = calc_price(
        Usage(input_tokens=_PROBE_TOKENS), model_ref=model, genai_request_timestamp=moment
    ).model_price
    starts = sorted({tier.start for price in vars(of_model).values() for tier in getattr(price, "tiers", ())})
    beyond = tuple((start, _probed(model, start + _PROBE_TOKENS, moment)) for start in starts)
    return replace(_probed(model, _PROBE_TOKENS, moment), beyond=beyond)


def _probed(model: str, prompt_tokens: int, at: datetime) -> Price:
    """The listed price of calls with a prompt of about that length."""

    def usd(**tokens: int) -> Decimal:
        asked = Usage(input_tokens=prompt_tokens, **tokens)
        return calc_price(asked, model_ref=model, genai_request_timestamp=at).total_price

    fresh = usd()
    return Price(
        model,
        fresh * MILLION / prompt_tokens,
        (usd(output_tokens=_PROBE_TOKENS) - fresh) * MILLION / _PROBE_TOKENS,
        usd(cache_read_tokens=prompt_tokens) * MILLION / prompt_tokens,
        NAME,
        usd(cache_write_tokens=prompt_tokens) * MILLION / prompt_tokens,
    )


def _changes(model: ModelInfo, at: float) -> list[float]:
    """Moments around this one at which a model's price may change."""
    today = datetime.fromtimestamp(at, UTC).date()
    found: list[float] = []
    for option in _options(model):
        when = option.constraint
        if isinstance(when, StartDateConstraint):
            found.append(_midnight(when.start_date))
        elif isinstance(when, TimeOfDateConstraint):
            for day in (today - _DAY, today, today + _DAY):
                found += [_moment(day, when.start_time), _moment(day, when.end_time)]
    return found


def _around(at: float, changes: list[float]) -> Spell:
    since = max((one for one in changes if one <= at), default=-math.inf)
    return Spell(since, min((one for one in changes if one > at), default=math.inf))


@cache
def _days() -> tuple[date, ...]:
    days = {
        option.constraint.start_date
        for model in _models()
        for option in _options(model)
        if isinstance(option.constraint, StartDateConstraint)
    }
    return tuple(sorted(days)) or (date(1970, 1, 1),)


def _models() -> Iterator[ModelInfo]:
    for provider in get_snapshot().providers:
        yield from provider.models


def _options(model: ModelInfo) -> list[ConditionalPrice]:
    prices = model.prices
    return prices if isinstance(prices, list) else [ConditionalPrice(prices=prices)]


def _midnight(day: date) -> float:
    return _moment(day, time())


def _moment(day: date, of_day: time) -> float:
    """Where a time says no zone it is in UTC."""
    moment = datetime.combine(day, of_day)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _all_of(price: Any) -> list[Decimal]:
    """A listed price, in each of its tiers."""
    tiers = [price.base, *(tier.price for tier in price.tiers)] if hasattr(price, "tiers") else [price]
    return [one for one in tiers if isinstance(one, Decimal)] or [Decimal(0)]
