"""What does a router's threshold reach? The curve that was measured when it was trained, and the points on it.

A question goes to the cheapest tier whose loss is not above the threshold, else to the last one. So as the threshold
falls, each question only ever moves up: what is spent grows along the curve.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]


class Step(BaseModel):
    """One point of the curve, on questions that the router had not seen.

    :ivar calls: share of questions that go to the strongest model.
    :ivar above: a tier answers where its loss is not above this.
    :ivar quality: right answers of all together, over those of the strongest model alone.
    :ivar error: its standard error: how far another sample of questions may easily be off.
    :ivar shares: of the questions, by tier; empty in a router of an older version, which has two.
    :ivar cost: what is spent, over what the strongest model alone costs; None where no costs were recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    calls: float = Field(ge=0, le=1)
    above: float
    quality: float = Field(ge=0)
    error: float = Field(default=0.0, ge=0)
    shares: tuple[float, ...] = ()
    cost: float | None = Field(default=None, ge=0)

    @property
    def by_tier(self) -> tuple[float, ...]:
        """Shares of the questions, cheapest tier first."""
        return self.shares or (1 - self.calls, self.calls)


def places_of(losses: Floats, above: float) -> NDArray[np.int64]:
    """(questions,) the tier that each begins with.

    :param losses: (questions, tiers - 1), of each tier but the last.
    """
    enough = losses <= above
    found: NDArray[np.int64] = np.where(enough.any(axis=1), enough.argmax(axis=1), losses.shape[1]).astype(np.int64)
    return found


def spending(curve: Sequence[Step]) -> Floats:
    """(steps,) how far each is from what the cheapest model alone costs, 0, to what the strongest alone costs, 1.

    Without recorded costs each tier counts as dearer than the one before by the same; of two tiers that is the share
    of strong calls.
    """
    costs = [step.cost for step in curve if step.cost is not None]
    if len(costs) == len(curve):
        spent = np.array(costs)
    else:
        shares = np.array([step.by_tier for step in curve])
        spent = shares @ np.arange(shares.shape[1])
    first, last = spent[0], spent[-1]
    return np.asarray(np.maximum.accumulate((spent - first) / ((last - first) or 1.0)))


def cheapest_for(
    curve: Sequence[Step], min_quality: float | None, max_calls: float | None, max_cost: float | None
) -> Step:
    """The cheapest point that keeps a quality, within a share of strong calls and of costs; the best quality there if
    none keeps it.

    It has to be kept by a standard error: of many points that are measured, the first that seems good enough is
    one that chance was kind to (Breiman et al. 1984, section 3.4.3, choose so too).

    :param max_cost: counts only where costs were recorded.
    """

    def within(step: Step) -> bool:
        dear = max_cost is not None and step.cost is not None and step.cost > max_cost + 1e-9
        return not dear and (max_calls is None or step.calls <= max_calls + 1e-9)

    allowed = [step for step in curve if within(step)] or [curve[0]]
    enough = (step for step in allowed if min_quality is not None and step.quality - step.error >= min_quality)
    return next(enough, None) or max(allowed, key=lambda step: step.quality)


class Curve:
    """Points between those that were measured, and the nearest of them, by what is spent.

    :param steps: from the cheapest model alone to the strongest alone.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps, self._spent = steps, spending(steps)
        self._above = np.array([step.above for step in steps])
        self._calls = np.array([step.calls for step in steps])
        self._quality = np.array([step.quality for step in steps])
        self._shares = np.array([step.by_tier for step in steps]).T

    def part_of(self, step: Step, share: float) -> Step:
        """A point that spends less than another: its threshold is no lower.

        :param step: one of the measured.
        :param share: factor of what it spends above the cheapest model alone, 0 to 1.
        """
        if share >= 1:
            return step
        spent = self._spent_at(step) * max(share, 0.0)

        def between(numbers: Floats) -> float:
            return float(np.interp(spent, self._spent, numbers))

        return Step(
            calls=between(self._calls),
            above=max(between(self._above), step.above),
            quality=between(self._quality),
            shares=tuple(between(of_tier) for of_tier in self._shares),
        )

    def nearest(self, step: Step, share: float) -> Step:
        """The measured point that is nearest to a share of what another one spends above the cheapest model alone."""
        return self._steps[int(np.abs(self._spent - self._spent_at(step) * share).argmin())]

    def _spent_at(self, step: Step) -> float:
        return float(self._spent[int((self._above == step.above).argmax())])
