"""Is a budget used up faster than its period passes, and what is given up first? Plain decisions on plain values.

The **pressure** of a budget compares what is left of it with what is left of its period:

    pressure = 1 - left of the budget / ((1 - slack) * left of the period), within 0 to 1

`left` are shares of the whole. So at 0.4 the budget lasts if from now on three fifths of the planned rate are spent.
`slack` is the head start: at the beginning of a period that share of the budget may go at once, and less and less of
it as the period passes. The pressure grows with what is spent, falls with time, and is 1 when nothing is left. Of
several budgets the one with the greatest pressure counts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NoReturn

from ragsaver.errors import BudgetExceeded
from ragsaver.settings import PacingSettings
from ragsaver.spend.budgets import SHARED, Standing, Window
from ragsaver.spend.money import dollars
from ragsaver.timestamps import iso


class Service(IntEnum):
    """The rungs of the ladder, best first; each gives up what those before it do, and one thing more."""

    FULL = 0
    NO_RERANK = 1
    SMALL = 2
    EXTRACTIVE = 3
    CACHED = 4
    REFUSED = 5

    @property
    def told(self) -> str:
        """As answers and headers name it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Pace:
    """How a request is served as its budgets stand.

    :ivar pressure: 0 to 1.
    :ivar strong: factor, 0 to 1, of what is spent on questions that begin with a dearer model than the cheapest.
    :ivar escalates: whether an answer that fails its check may go to a dearer model.
    :ivar budget: the one under the greatest pressure; empty if there is none.
    :ivar shared: whether others spend of it too.
    :ivar left: micro-dollars of it.
    :ivar ends: seconds since the epoch at which it begins anew.
    :ivar free_at: seconds since the epoch from which more than cached answers are given, if nothing is spent till then.
    :ivar asks_at: the same, from which a model is asked.
    :ivar at: of the reading.
    """

    pressure: float = 0.0
    service: Service = Service.FULL
    strong: float = 1.0
    escalates: bool = True
    budget: str = ""
    shared: bool = False
    left: int = 0
    ends: int = 0
    free_at: float = 0.0
    asks_at: float = 0.0
    at: float = 0.0

    @property
    def why(self) -> str:
        """For receipts and routes, in words; how far a budget is used up that others spend of is not for who asks."""
        pressure = "" if self.shared else f" (pressure {self.pressure:.2f})"
        return f"budget {self.budget} is used up faster than it passes{pressure}"


UNPRESSED = Pace()


def pressure_of(used: float, elapsed: float, slack: float) -> float:
    """The rule.

    :param used: share of the budget, 0 or more.
    :param elapsed: share of the period, 0 to 1.
    :param slack: 0 to less than 1.
    """
    if used >= 1:
        return 1.0
    planned = (1 - slack) * (1 - elapsed)
    if 1 - used >= planned:
        return 0.0
    return 1 - (1 - used) / planned


def relieved_at(window: Window, used: float, slack: float, below: float) -> float:
    """Seconds since the epoch from which a budget's pressure is below a bound, if nothing is spent till then."""
    if used >= 1 or below <= 0:
        return float(window.ends)
    elapsed = 1 - (1 - used) / ((1 - slack) * (1 - min(below, 1.0))) if below < 1 else 0.0
    at = window.starts + max(elapsed, 0.0) * (window.ends - window.starts)
    return min(at, float(window.ends))


def service_at(pressure: float, wishes: PacingSettings) -> Service:
    """The lowest rung that a pressure reaches; one without a bound is passed over."""
    bounds = {
        Service.NO_RERANK: wishes.no_rerank_from,
        Service.SMALL: wishes.small_from,
        Service.EXTRACTIVE: wishes.extractive_from,
        Service.CACHED: wishes.cached_from,
        Service.REFUSED: wishes.refused_from,
    }
    reached = [service for service, bound in bounds.items() if bound is not None and pressure >= bound]
    return max(reached, default=Service.FULL)


def strong_share(pressure: float, wishes: PacingSettings) -> float:
    """Factor of the share of strong calls: 1 without pressure, straight down to 0 at the first rung without any."""
    rungs = (wishes.small_from, wishes.extractive_from, wishes.cached_from, wishes.refused_from)
    bound = next((one for one in rungs if one is not None), 1.0)
    return max(1 - pressure / bound, 0.0)


def pace_of(standings: Sequence[Standing], limits: Mapping[str, int], wishes: PacingSettings, at: float) -> Pace:
    """How to serve a request whose budgets stand so.

    :param limits: micro-dollars by the window's id; the others have no end.
    """
    worst = UNPRESSED
    free_at = asks_at = 0.0
    bound = _first((wishes.cached_from, wishes.refused_from))
    asked_below = _first((wishes.extractive_from, bound))
    for standing in standings:
        window = standing.window
        limit = limits.get(window.id)
        if limit is None:
            continue
        used = standing.spent / limit if limit else 1.0
        elapsed = min(max((at - window.starts) / (window.ends - window.starts), 0.0), 1.0)
        pressure = pressure_of(used, elapsed, wishes.slack)
        if pressure >= bound:
            free_at = max(free_at, relieved_at(window, used, wishes.slack, bound))
        if pressure >= asked_below:
            asks_at = max(asks_at, relieved_at(window, used, wishes.slack, asked_below))
        if pressure > worst.pressure:
            service = service_at(pressure, wishes)
            escalates = wishes.no_escalation_from is None or pressure < wishes.no_escalation_from
            worst = Pace(
                pressure,
                service,
                strong_share(pressure, wishes),
                escalates and service < Service.SMALL,
                f"{window.kind} {window.name}".strip() + f" per {window.period}",
                window.kind in SHARED,
                max(limit - standing.spent, 0),
                window.ends,
                at=at,
            )
    if worst is UNPRESSED:
        return worst
    return replace(worst, free_at=max(free_at, at), asks_at=max(asks_at, at))


def _first(bounds: Iterable[float | None]) -> float:
    return min((bound for bound in bounds if bound is not None), default=1.0)


def admit(pace: Pace, *, cached: bool) -> None:
    """Refuse a request that its budgets leave nothing for.

    :param cached: before it is known whether a cache has its answer; after that only what is not there is asked.
    :raises BudgetExceeded: saying when to come again.
    """
    if pace.service >= (Service.REFUSED if cached else Service.CACHED):
        given = "no answers" if pace.service is Service.REFUSED else "only answers that are cached"
        raise _refusal(pace, f"{given} are given", pace.free_at)


def refuse_without_model(pace: Pace) -> NoReturn:
    """Refuse a request that only a model can answer, and that its budgets leave none for.

    :raises BudgetExceeded: saying when to come again.
    """
    raise _refusal(pace, "no model is asked that could answer this", pace.asks_at)


def _refusal(pace: Pace, given: str, until: float) -> BudgetExceeded:
    return BudgetExceeded(
        f"{pace.why}: {given}",
        where=f"budget {pace.budget}",
        remedy="Come again after Retry-After, raise `limit_usd` of it in `spend.budgets`, or set `spend.pacing`",
        budget=pace.budget,
        remaining_usd=dollars(pace.left),
        resets_at=iso(pace.ends),
        retry_after_s=max(math.floor(until - pace.at) + 1, 1),
    )
