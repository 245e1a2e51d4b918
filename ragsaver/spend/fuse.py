"""Does a tenant suddenly spend far more than it usually does? Then its calls stop for a while: a loop, or a runaway.

All that decides is in the ledger, so that several processes agree: what the tenant's last minutes cost, step by step,
is played through the fuse from the beginning of what is looked back on.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ragsaver.deadline import holding
from ragsaver.errors import FuseBlown, StorageLate
from ragsaver.settings import FuseSettings
from ragsaver.spend.budgets import Window, period_at
from ragsaver.spend.ledger import Ledger
from ragsaver.spend.money import dollars, kept
from ragsaver.spend.tables import INGEST, entries, windows

_STEP_S = 10  # that charges are summed over
_LOOK_S = 2.0
_BASELINE_S = 60.0
# What was reserved so long ago may still be settled: it is read again.
_AGAIN_S = 600
_HOUR_S = 3600
_USUAL_HOURS = 7 * 24
_HALF_LIFE = 24  # active hours
_BACK_S = 5
_PROBE = 10  # part of the limit that may be spent to try whether it is over
_TRIES_TIMES = 2  # what is usual may be, at least


@dataclass(frozen=True, slots=True)
class Blown:
    """A fuse that lets nothing through.

    :ivar until: seconds since the epoch.
    :ivar spent: micro-dollars in the window that blew it, and the `limit` there.
    """

    until: float
    spent: int
    limit: int


def usual(hours: Sequence[int]) -> float:
    """What an hour usually costs, in micro-dollars: the later ones count for more.

    :param hours: of those in which anything was spent, the earliest first.
    """
    weights = [0.5 ** ((len(hours) - 1 - place) / _HALF_LIFE) for place in range(len(hours))]
    return sum(cost * weight for cost, weight in zip(hours, weights, strict=True)) / sum(weights) if hours else 0.0


def limit_of(usual_hour: float, wishes: FuseSettings) -> int:
    """Micro-dollars that a window may cost."""
    return max(kept(wishes.floor_usd), int(wishes.times * usual_hour * wishes.window_s / _HOUR_S))


def trial_of(usual_hour: float, limit: int, wishes: FuseSettings) -> int:
    """Micro-dollars that may be spent to try whether it is over: a tenth of the limit, and enough for a tenant that
    asks as it usually does, who would blow it again otherwise.
    """
    return min(limit, max(limit // _PROBE, int(_TRIES_TIMES * usual_hour * wishes.window_s / _HOUR_S)))


def play(
    costs: Sequence[tuple[float, int]], limit: int, wishes: FuseSettings, now: float, trial: int | None = None
) -> Blown | None:
    """Whether the fuse is blown now.

    It blows where a window costs more than the limit, and after the pause a part of that tries whether it is over: more
    within a window blows it again.

    :param costs: when, and micro-dollars, the earliest first.
    :param trial: that part; a tenth if None.
    """
    trial = limit // _PROBE if trial is None else trial
    window: deque[tuple[float, int]] = deque()
    spent = 0
    blown: Blown | None = None
    for at, cost in costs:
        if blown is not None:
            if at < blown.until:
                # Of calls that ran when it blew.
                continue
            if at >= blown.until + wishes.window_s:
                blown = None
        bound = limit if blown is None else trial
        window.append((at, cost))
        spent += cost
        while window[0][0] <= at - wishes.window_s:
            spent -= window.popleft()[1]
        if spent > bound:
            blown = Blown(at + wishes.pause_s, spent, bound)
            window.clear()
            spent = 0
    return blown if blown is not None and now < blown.until else None


class Fuses:
    """The fuse of each tenant. Safe from threads; what other processes spent is known some seconds late."""

    def __init__(self, ledger: Ledger, wishes: FuseSettings) -> None:
        self._ledger = ledger
        self._wishes = wishes
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._costs: dict[str, dict[int, int]] = {}
        self._usual: dict[str, tuple[float, float]] = {}

    def check(self, tenant: str) -> None:
        """Let a call through.

        :raises FuseBlown: if the tenant's fuse is blown.
        :raises StorageError: if the ledger can't be read.
        """
        blown = self.blown(tenant)
        if blown is None:
            return
        wait_s = max(int(blown.until - self._ledger.clock()) + 1, 1)
        within = f"${dollars(blown.spent):f} were spent within {self._wishes.window_s} s"
        raise FuseBlown(
            f"{within}, more than ${dollars(blown.limit):f}: a loop or a runaway?",
            where=f"fuse of tenant {tenant}",
            remedy=f"See who asks so much (`ragsaver usage --by principal`); calls are tried again in {wait_s} s. "
            "If it is meant to be, raise `spend.fuse.floor_usd` or `spend.fuse.times`",
            retry_after_s=wait_s,
        )

    def blown(self, tenant: str) -> Blown | None:
        """The tenant's fuse, if it is blown."""
        if not self._wishes.enabled:
            return None
        now = self._ledger.clock()
        with holding(self._lock, _late):
            self._look(now)
            steps = sorted(self._costs.get(tenant, {}).items())
            # Most tenants never spend so much that their usual hour matters.
            if sum(cost for _, cost in steps) <= kept(self._wishes.floor_usd) // _PROBE:
                return None
            usual_hour = self._usual_hour(tenant, now)
        limit = limit_of(usual_hour, self._wishes)
        trial = trial_of(usual_hour, limit, self._wishes)
        return play([(float(step * _STEP_S), cost) for step, cost in steps], limit, self._wishes, now, trial)

    def _look(self, now: float) -> None:
        """Read what was spent since the last look."""
        if self._looked_at <= now < self._looked_at + _LOOK_S:
            return
        back_s = max(_HOUR_S, 4 * (self._wishes.window_s + self._wishes.pause_s))
        first = max(now - back_s, self._looked_at - _AGAIN_S) if now >= self._looked_at else now - back_s
        since = int(first // _STEP_S) * _STEP_S
        # written out: PostgreSQL takes the same expression with two parameters for two
        step = sa.cast(entries.c.reserved_at / sa.literal_column(f"{_STEP_S}.0"), sa.Integer).label("step")
        asked = (
            sa.select(entries.c.tenant, step, sa.func.sum(entries.c.cost).label("cost"))
            .where(entries.c.reserved_at >= since, entries.c.cost != 0, entries.c.task != INGEST)
            .group_by(entries.c.tenant, step)
        )
        with self._ledger.database.reading() as connection:
            rows = connection.execute(asked).all()
        for row in rows:
            self._costs.setdefault(row.tenant, {})[int(row.step)] = int(row.cost)
        oldest = (now - back_s) // _STEP_S
        for tenant, steps in list(self._costs.items()):
            self._costs[tenant] = {one: cost for one, cost in steps.items() if one >= oldest}
            if not self._costs[tenant]:
                del self._costs[tenant]
        self._looked_at = now

    def _usual_hour(self, tenant: str, now: float) -> float:
        known = self._usual.get(tenant)
        if known is None or not known[0] <= now < known[0] + _BASELINE_S:
            this = period_at("hour", now)[0]
            starts = [this - number * _HOUR_S for number in range(_USUAL_HOURS, 0, -1)]
            ids = [Window("tenant", tenant, "hour", start, start + _HOUR_S).id for start in starts]
            # What is looked at is without ingestions, so what is usual is, too.
            within = (entries.c.reserved_at >= windows.c.starts, entries.c.reserved_at < windows.c.ends)
            ingested = (
                sa.select(sa.func.coalesce(sa.func.sum(entries.c.cost), 0))
                .where(entries.c.tenant == tenant, entries.c.task == INGEST, *within)
                .scalar_subquery()
            )
            asked = sa.select((windows.c.spent - ingested).label("spent"))
            asked = asked.where(windows.c.id.in_(ids), windows.c.spent > 0).order_by(windows.c.starts)
            with self._ledger.database.reading() as connection:
                hours = [int(spent) for spent in connection.scalars(asked)]
            known = self._usual[tenant] = (now, usual([spent for spent in hours if spent > 0]))
        return known[1]


def _late() -> StorageLate:
    return StorageLate("the ledger can't be read: others wait for it", retry_after_s=_BACK_S)
