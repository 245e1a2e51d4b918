"""Who may spend how much, and when does it begin anew? Plain decisions on plain values; the ledger acts on them.

A charge counts for its total, its tenant, its principal and its pipeline, in the hour, the day and the month (UTC) in
which its money was reserved.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from ragsaver.errors import BudgetExceeded, RagSaverError, TooExpensive
from ragsaver.settings import BudgetSettings
from ragsaver.spend.money import dollars, kept
from ragsaver.timestamps import iso

PERIODS = ("hour", "day", "month")
REQUEST = "request"
# What others spend counts for these too: how far they are used up is for who runs the server, not for who asks it.
SHARED = frozenset({"total", "pipeline"})

# Where only holds of running calls are in the way: they end soon.
_HOLDS_END_S = 2
# A call may hold the whole output clamp while that is no more than this share of what is left of every budget; else it
# holds what answers were learned to need.
_SHARE = 50


@dataclass(frozen=True, slots=True)
class Account:
    """On whose account a call is.

    :ivar most: micro-dollars that the whole request may cost; None for no ceiling of its own.
    """

    tenant: str
    principal: str | None = None
    pipeline: str | None = None
    request_id: str = ""
    most: int | None = None

    @property
    def request(self) -> str:
        """The request among those of all tenants: callers may choose their ids."""
        return f"{self.tenant}/{self.request_id}"

    def scopes(self) -> dict[str, str]:
        """The name within each kind of scope that it counts for."""
        scopes = {"total": "", "tenant": self.tenant}
        if self.principal is not None:
            scopes["principal"] = f"{self.tenant}/{self.principal}"
        if self.pipeline is not None:
            scopes["pipeline"] = self.pipeline
        return scopes


@dataclass(frozen=True, slots=True)
class Window:
    """One scope in one period; `starts` and `ends` are seconds since the epoch, `id` is its key."""

    kind: str
    name: str
    period: str
    starts: int
    ends: int
    id: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.period} {self.starts} {self.kind} {self.name}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a window is used up, in micro-dollars."""

    window: Window
    spent: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call is to keep back: micro-dollars, and the tokens of its answer that they pay for."""

    cost: int
    output_tokens: int


def period_at(period: str, at: float) -> tuple[int, int]:
    """Beginning and end of the period that a moment is in, in UTC."""
    return _period_of_hour(period, int(at // 3600))


@lru_cache(maxsize=64)
def _period_of_hour(period: str, hour: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    if period == "hour":
        end = moment + timedelta(hours=1)
    elif period == "day":
        moment = moment.replace(hour=0)
        end = moment + timedelta(days=1)
    else:
        moment = moment.replace(day=1, hour=0)
        end = (moment + timedelta(days=32)).replace(day=1)
    return int(moment.timestamp()), int(end.timestamp())


def windows_of(account: Account, at: float, *, ceiling: bool) -> list[Window]:
    """All windows that a charge counts for.

    :param ceiling: the request's own one too.
    """
    hour = int(at // 3600)
    windows = [window for scope in account.scopes().items() for window in _windows_in(*scope, hour)]
    if ceiling:
        windows.append(Window(REQUEST, account.request, REQUEST, 0, 0))
    return windows


# The same ones for an hour: to make them anew takes as long as a statement of the ledger.
@lru_cache(maxsize=4096)
def _windows_in(kind: str, name: str, hour: int) -> tuple[Window, ...]:
    return tuple(Window(kind, name, period, *_period_of_hour(period, hour)) for period in PERIODS)


class Budgets:
    """The limits of the settings.

    :param wishes: one that names whom it is for goes before one that is for each.
    """

    def __init__(self, wishes: Iterable[BudgetSettings] = ()) -> None:
        self._limits: dict[tuple[str, str | None, str], int] = {}
        for wish in wishes:
            name = "" if wish.scope == "total" else wish.name
            self._limits[wish.scope, name, wish.period] = kept(wish.limit_usd)

    def __bool__(self) -> bool:
        return bool(self._limits)

    def named(self) -> list[tuple[str, str, str]]:
        """Scope, name and period of those that are for all, or for one that is named."""
        return [(scope, name, period) for scope, name, period in self._limits if name is not None]

    def limit(self, window: Window) -> int | None:
        """Micro-dollars; None where there is no budget."""
        for name in (window.name, None):
            found = self._limits.get((window.kind, name, window.period))
            if found is not None:
                return found
        return None


def choose(
    standings: Sequence[Standing],
    limits: Mapping[str, int],
    whole: Hold,
    learned: Hold | None,
    at: float,
    what: str = "the next call",
) -> Hold:
    """The hold that a call gets; none of its budgets is passed by it.

    :param limits: micro-dollars by the window's id; of the others there is no end.
    :param whole: for the longest answer that the settings allow.
    :param learned: for an answer as long as nearly all of them are; None if nothing was learned.
    :param what: it is for, as a refusal says it.
    :raises BudgetExceeded: if neither fits.
    :raises TooExpensive: if it is the request's own ceiling that is in the way.
    """
    limited = [one for one in standings if one.window.id in limits]
    shares = {one.window.id: 1 if one.window.kind == REQUEST else _SHARE for one in limited}
    roomy = all(whole.cost * shares[one.window.id] <= _room(one, limits) for one in limited)
    hold = whole if roomy or learned is None or learned.cost >= whole.cost else learned
    short = [one for one in limited if _room(one, limits) < hold.cost]
    if not short:
        return hold
    # of several the one that lasts longest: holds end soon, also those in the way of a budget that begins anew late
    longest = max(short, key=lambda one: (_wait_s(one, limits, hold, at), one.window.ends))
    raise refusal(longest, limits, hold, at, what)


def refusal(
    standing: Standing, limits: Mapping[str, int], hold: Hold, at: float, what: str = "the next call"
) -> RagSaverError:
    """Why a call is not made; of a budget that is shared with others without its figures."""
    window = standing.window
    limit, left = limits[window.id], max(_room(standing, limits), 0)
    if window.kind == REQUEST:
        return TooExpensive(
            f"{what} may cost {_usd(hold.cost)}, and of the {_usd(limit)} that the request may cost "
            f"{_usd(left)} are left",
            where="the request's ceiling",
            remedy=f"Raise it{_or_shorter(hold)}",
        )
    budget = f"{window.kind} {window.name}".strip() + f" per {window.period}"
    held = limit - standing.spent >= hold.cost
    resets_at = iso(window.ends)
    wait_s = _wait_s(standing, limits, hold, at)
    if hold.cost > limit:
        remedy = f"Raise `limit_usd` of it{_or_shorter(hold)}: {what} may cost more than all of it"
    elif held:
        remedy = "Try again shortly: calls that run now hold the rest"
    else:
        remedy = f"Wait until {resets_at}, or raise `limit_usd` of it in `spend.budgets`"
    figures = (
        f"more than budget {budget} has room for"
        if window.kind in SHARED
        else f"and of {_usd(limit)} {_usd(left)} are left "
        f"({_usd(standing.spent)} spent, {_usd(standing.reserved)} held)"
    )
    return BudgetExceeded(
        f"{what} may cost {_usd(hold.cost)}, {figures}",
        where=f"budget {budget}",
        remedy=remedy,
        budget=budget,
        remaining_usd=dollars(left),
        resets_at=resets_at,
        retry_after_s=None if math.isinf(wait_s) else wait_s,
    )


def _wait_s(standing: Standing, limits: Mapping[str, int], hold: Hold, at: float) -> float:
    """Seconds after which there may be room; there never is for a call that costs more than the whole budget."""
    window = standing.window
    if window.kind != REQUEST and hold.cost > limits[window.id]:
        return math.inf
    wait_s = max(int(window.ends - at) + 1, 1)
    held = limits[window.id] - standing.spent >= hold.cost
    return min(wait_s, _HOLDS_END_S) if held else wait_s


def _room(standing: Standing, limits: Mapping[str, int]) -> int:
    return limits[standing.window.id] - standing.spent - standing.reserved


def _or_shorter(hold: Hold) -> str:
    return ", or lower `max_output_tokens` of the model" if hold.output_tokens else ""


def _usd(micro: int) -> str:
    return f"${Decimal(micro) / 1_000_000:f}"
