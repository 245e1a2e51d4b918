"""Fit a router to recorded outcomes, and say what it reaches on questions that it has not seen: functions of arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.router_model import Step, Weights, nearness
from ragsaver.eval.gate_fitting import fit as fit_logistic
from ragsaver.eval.gate_fitting import folds as spread_evenly
from ragsaver.eval.route_outcomes import Floats, Outcomes, recovered

CENTRES = 128  # at most: one for `_PER_CENTRE` questions
_PER_CENTRE = 40
_PULL = 60.0  # of the ridge, on features whose standard deviation is about 0.05 to 0.1
_ROUNDS = 6
_STEPS = 201  # points of the curve that is written into a router


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


def fit(seen: Seen, weak: Floats, strong: Floats) -> Weights:
    """Ridge regression of both models' outcomes; the same each time.

    :param weak: (questions,) 1 where the weak model was right.
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
        np.zeros((dim + counted + len(found), 2)),
        np.zeros(2),
    )
    x, y = blank.seen(seen.vectors, seen.counted), np.column_stack([weak, strong])
    middle, level = x.mean(axis=0), y.mean(axis=0)
    x -= middle
    slopes = np.linalg.solve(x.T @ x + _PULL * np.eye(x.shape[1]), x.T @ (y - level))
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
    """(questions, 2) as `Weights.chances` gives it, each question by a router that did not see its fold."""
    found = np.zeros((len(fold), 2))
    for number in np.unique(fold):
        mine = fold == number
        weights = fit(seen.only(~mine), outcomes.weak[~mine], outcomes.strong[~mine])
        found[mine] = weights.chances(seen.vectors[mine], seen.counted[mine])
    return found


def calibrate(weak_chances: Floats, weak: Floats) -> tuple[float, float]:
    """Slope and level of the logistic curve from a number to a chance (Platt 1999).

    :param weak_chances: (questions,) by routers that did not see them.
    """
    model = fit_logistic(weak_chances[:, None], weak > 0.5, pull=1e-6)
    slope = float(model.weights[0] / model.scale[0])
    return slope, float(model.intercept - slope * model.mean[0])


def curve(gains: Floats, outcomes: Outcomes) -> tuple[Step, ...]:
    """What each share of strong calls reaches.

    :param gains: (questions,) by routers that did not see them.
    """
    share_of_gap = recovered(gains, outcomes.gain)
    order = np.argsort(-gains, kind="stable")
    ordered = gains[order]
    weak, strong = float(outcomes.weak.mean()), float(outcomes.strong.mean())
    # Of each question that the weak model answers, what that changes; the others change nothing.
    changes = -np.asarray(outcomes.gain, dtype=np.float64)[order]
    count = len(gains)
    mean, square = (np.append(np.cumsum(power[::-1])[::-1], 0.0) / count for power in (changes, changes**2))
    errors = np.sqrt(np.maximum(square - mean**2, 0.0) / count)
    places = np.unique(np.linspace(0, count, _STEPS).round().astype(int))
    return tuple(
        Step(
            calls=round(int(place) / count, 4),
            above=float(ordered[place]) if place < count else float(ordered[-1]) - 1.0,
            quality=round((weak + float(share_of_gap[place]) * outcomes.gap) / strong, 6),
            error=round(float(errors[place]) / strong, 6),
        )
        for place in places
    )
