"""Fit a router to recorded outcomes, and say what it reaches on questions that it has not seen: functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.router_curve import Step, places_of, spending
from ragsaver.components.router_model import Weights, gaps, nearness
from ragsaver.eval.gate_fitting import fit as fit_logistic
from ragsaver.eval.gate_fitting import folds as spread_evenly
from ragsaver.eval.route_outcomes import Floats, Outcomes

CENTRES = 128  # at most: one for `_PER_CENTRE` questions
_PER_CENTRE = 40
_PULL = 60.0  # of the ridge, on features whose standard deviation is about 0.05 to 0.1
_ROUNDS = 6
_STEPS = 201  # points of the curve that is written into a router
_LEAST_SLOPE = 1e-3
_POINTS = 1001
_BINS = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """What the router sees of recorded questions.

    :ivar vectors: (questions, dim) L2-normalised.
    :ivar counted: (questions, counted).
    """

    vectors: Floats
    counted: Floats

    def only(self, which: NDArray[np.bool_]) -> "Seen":
        """Some of the questions."""
        return Seen(self.vectors[which], self.counted[which])


def fit(seen: Seen, ok: Floats) -> Weights:
    """Ridge regression of all models' outcomes; the same each time.

    :param ok: (questions, tiers) 1 where the model was right.
    """
    scale = seen.counted.std(axis=0)
    found = centres(seen.vectors, min(CENTRES, max(len(seen.vectors) // _PER_CENTRE, 1)))
    spread = nearness(seen.vectors, found).std(axis=0)
    counted, dim = seen.counted.shape[1], seen.vectors.shape[1]
    blank = Weights(
        seen.counted.mean(axis=0),
        np.where(scale > 1e-9, scale, 1.0),
        found,
        np.where(spread > 1e-9, spread, 1.0),
        np.zeros((dim + counted + len(found), ok.shape[1])),
        np.zeros(ok.shape[1]),
    )
    x = blank.seen(seen.vectors, seen.counted)
    middle, level = x.mean(axis=0), ok.mean(axis=0)
    x -= middle
    slopes = np.linalg.solve(x.T @ x + _PULL * np.eye(x.shape[1]), x.T @ (ok - level))
    return Weights(blank.mean, blank.scale, found, blank.spread, slopes, level - middle @ slopes)


def centres(vectors: Floats, count: int) -> Floats:
    """(count, dim) of spherical k-means (Dhillon & Modha 2001), begun at random questions; the same each time."""
    found = vectors[np.random.default_rng(0).choice(len(vectors), count, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = (vectors @ found.T).argmax(axis=1)
        sums = np.zeros_like(found)
        np.add.at(sums, nearest, vectors)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        found = np.where(length > 1e-9, sums / np.maximum(length, 1e-9), found)
    return found


def folds(groups: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """A fold for each question, every group spread evenly."""
    return spread_evenly(groups, seed, count)


def whole_groups(groups: NDArray[np.int64], count: int, seed: int = 0) -> NDArray[np.int64]:
    """A fold for each question, every group in one fold only, folds of about the same size."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    sizes = {int(name): int((groups == name).sum()) for name in names}
    filled = np.zeros(count)
    fold_of: dict[int, int] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        fold_of[name] = int(filled.argmin())
        filled[fold_of[name]] += sizes[name]
    return np.array([fold_of[int(name)] for name in groups], dtype=np.int64)


def left_out(seen: Seen, outcomes: Outcomes, fold: NDArray[np.int64]) -> Floats:
    """(questions, tiers) as `Weights.chances` gives it, each question by a router that did not see its fold."""
    found = np.zeros(outcomes.ok.shape)
    for number in np.unique(fold):
        mine = fold == number
        weights = fit(seen.only(~mine), outcomes.ok[~mine])
        found[mine] = weights.chances(seen.vectors[mine], seen.counted[mine])
    return found


def calibrate(raw: Floats, ok: Floats) -> tuple[tuple[float, float], ...]:
    """Of each tier but the last: the logistic curve from what the last one's number is above its own, to the chance
    that it is wrong where the last one is right (Platt 1999): slope and level.

    The slope is above 0, so that the order of questions stays what the numbers say.

    :param raw: (questions, tiers) by routers that did not see them.
    :param ok: (questions, tiers)
    """
    return tuple(_platt(gap, ok[:, -1] > mine) for gap, mine in zip(gaps(raw).T, ok.T[:-1], strict=True))


def _platt(numbers: Floats, happened: NDArray[np.bool_]) -> tuple[float, float]:
    model = fit_logistic(numbers[:, None], happened, pull=1e-6)
    slope = float(model.weights[0] / model.scale[0])
    if slope >= _LEAST_SLOPE:
        return slope, float(model.intercept - slope * model.mean[0])
    rate = min(max(float(happened.mean()), 1e-6), 1 - 1e-6)
    return _LEAST_SLOPE, float(np.log(rate / (1 - rate)) - _LEAST_SLOPE * numbers.mean())


def curve(losses: Floats, outcomes: Outcomes) -> tuple[Step, ...]:
    """What each threshold reaches, from the cheapest model alone to the strongest alone.

    :param losses: (questions, tiers - 1) by routers that did not see them.
    """
    ordered = np.sort(losses, axis=None)[::-1]
    cuts = np.unique(np.linspace(0, len(ordered), _STEPS).round().astype(int))
    above = [float(ordered[cut]) if cut < len(ordered) else float(ordered[-1]) - 1.0 for cut in cuts]
    return tuple(_step(one, places_of(losses, one), outcomes) for one in above)


def _step(above: float, places: NDArray[np.int64], outcomes: Outcomes) -> Step:
    count, strong = len(places), outcomes.strong.mean()
    each = np.arange(count)
    right = outcomes.ok[each, places]
    shares = np.bincount(places, minlength=outcomes.tiers) / count
    cost = float(outcomes.usd[each, places].sum() / outcomes.usd[:, -1].sum()) if outcomes.usd.size else None
    return Step(
        calls=round(float(shares[-1]), 4),
        above=above,
        quality=round(float(right.mean() / strong), 6),
        error=round(float((right - outcomes.strong).std() / np.sqrt(count) / strong), 6),
        shares=tuple(round(float(share), 4) for share in shares),
        cost=None if cost is None else round(cost, 6),
    )


def recovered_by_spending(steps: Sequence[Step], outcomes: Outcomes) -> Floats:
    """(points,) share of the quality gap between the cheapest and the strongest model that is recovered, at evenly
    spaced points of what is spent between the two.
    """
    gained = [(step.quality * outcomes.strong.mean() - outcomes.weak.mean()) / outcomes.gap for step in steps]
    return np.asarray(np.interp(np.linspace(0, 1, _POINTS), spending(steps), gained))


def calibration_errors(losses: Floats, ok: Floats) -> list[float]:
    """Of each tier but the last: how far the chance that it will do is from how often it does, on average over tenths
    of the questions by chance (expected calibration error, Naeini et al. 2015, with bins of equal size).
    """
    found = []
    for loss, mine in zip(losses.T, ok.T[:-1], strict=True):
        parts = np.array_split(np.argsort(loss, kind="stable"), _BINS)
        lost = ok[:, -1] > mine
        off = [abs(float(loss[part].mean() - lost[part].mean())) * len(part) for part in parts if len(part)]
        found.append(sum(off) / len(loss))
    return found
